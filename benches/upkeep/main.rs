//! What a purge and a baseline do to those who write meanwhile.
//!
//! ```sh
//! cargo bench -p threadline-benches --bench upkeep              # 5 million changes; five minutes
//! cargo bench -p threadline-benches --bench upkeep -- --help
//! ```
//!
//! The server is the one that the tests use. The data come from `log.sql`. `pgbench` writes to the tables at a rate that leaves
//! the machine time for the work.

mod work;
mod writers;

use std::process::ExitCode;

use clap::Parser;
use threadline_benches::{Data, Output, Report, Result, Size};

/// Measures what a purge and a baseline do to those who write meanwhile.
#[derive(Parser)]
#[command(bin_name = "cargo bench -p threadline-benches --bench upkeep --")]
struct Options {
    /// The number of changes in the audit log
    #[arg(long, default_value_t = 5_000_000)]
    changes: u32,
    /// The number of rows for the baseline
    #[arg(long, default_value_t = 1_000_000)]
    rows: u32,
    /// The number of transactions that the writers begin per second
    #[arg(long, default_value_t = 500)]
    rate: u32,
    #[command(flatten)]
    output: Output,
}

fn main() -> ExitCode {
    threadline_benches::main(run)
}

fn run(options: &Options) -> Result<bool> {
    let size = Size {
        rows: options.changes / 20,
        changes: options.changes,
    };
    let data = Data::generate(size)?;
    let (lines, targets) = work::measure(&data, options.rate, options.rows)?;
    let report = Report {
        size,
        server: data.server()?,
        lines,
        targets,
    };
    options.output.print(&report, &report.targets)
}
