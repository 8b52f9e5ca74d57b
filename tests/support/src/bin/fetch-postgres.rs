//! Prints the directory of the programs of a PostgreSQL version, for `PG_BIN`: `fetch-postgres 13`
//!
//! It fetches what is not there yet, and says so on standard error.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let version = env::args().nth(1).and_then(|version| version.parse().ok());
    let Some(version) = version else {
        eprintln!("usage: fetch-postgres VERSION, such as 18");
        return ExitCode::from(2);
    };
    match threadline_test_support::fetch_postgres(version) {
        Ok(bin) => {
            println!("{}", bin.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fetch-postgres: {error}");
            ExitCode::FAILURE
        }
    }
}
