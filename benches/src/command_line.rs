use std::env;
use std::fmt::Display;
use std::process::ExitCode;

use clap::{Args, Parser};
use serde::Serialize;

use crate::{Result, Target};

/// The options that every benchmark has.
#[derive(Args)]
pub struct Output {
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Exit with 1 if a target is missed
    #[arg(long)]
    check: bool,
}

impl Output {
    /// Prints a report. Returns false if a target is missed and that matters.
    ///
    /// # Errors
    /// If the report has no form as JSON.
    pub fn print(&self, report: &(impl Serialize + Display), targets: &[Target]) -> Result<bool> {
        if self.json {
            println!("{}", serde_json::to_string(report)?);
        } else {
            println!("\n{report}");
        }
        Ok(!self.check || targets.iter().all(Target::met))
    }
}

/// Reads the command line and measures. Exits with 1 if a target is missed, with 2 if something fails.
#[must_use]
pub fn main<O: Parser>(measure: impl FnOnce(&O) -> Result<bool>) -> ExitCode {
    // `cargo bench` passes `--bench`; `cargo test --all-targets` does not, and is not to wait for a measurement.
    let (bench, arguments): (Vec<_>, Vec<_>) = env::args_os().partition(|a| a == "--bench");
    if bench.is_empty() {
        eprintln!("Not measured: run it by `cargo bench`.");
        return ExitCode::SUCCESS;
    }
    match measure(&O::parse_from(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
