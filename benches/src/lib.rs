//! What the benchmarks share: the command line, a year of changes and the report.

#![allow(missing_docs)]

mod command_line;
mod data;
mod report;
mod server;
mod size;

use std::error::Error;
use std::process::ExitCode;

pub use command_line::{Arguments, CommandLine};
pub use data::{Data, SETTINGS};
pub use report::{Line, Report, table, two_digits, verdict};
pub use server::{Server, server};
pub use size::Size;

/// Whatever went wrong ends the benchmark.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Success if every target is met, or if there was nothing to measure.
#[must_use]
pub fn exit_code(result: Result<Option<bool>>) -> ExitCode {
    match result {
        Ok(None | Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
