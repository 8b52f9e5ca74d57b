//! What the benchmarks on a year of changes have in common.

pub(crate) mod command_line;
pub(crate) mod data;
pub(crate) mod report;

use std::error::Error;
use std::process::ExitCode;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Success if all is as it should be, or if there was nothing to do.
pub(crate) fn exit_code(result: Result<Option<bool>>) -> ExitCode {
    match result {
        Ok(None | Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
