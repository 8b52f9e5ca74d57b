//! `cargo xtask migration` writes the migration of the next release; `cargo xtask freeze` records its checksums.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use xtask::{freeze, write_migration};

const USAGE: &str =
    "usage: cargo xtask migration   write the migration of the next release from sql/
       cargo xtask freeze      record the checksums of that migration when it is released";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask stands in the workspace");
    let done = match env::args().nth(1).as_deref() {
        Some("migration") => write_migration(root),
        Some("freeze") => freeze(root),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(written) => {
            println!("{}", written.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
