//! What an export costs, beside `COPY` of the same columns.
//!
//! ```sh
//! cargo bench -p threadline-benches --bench export              # 1 million changes; a minute
//! cargo bench -p threadline-benches --bench export -- --help
//! ```
//!
//! The server is the one that the tests use. The data come from `log.sql`.

mod measure;
mod memory;

use std::process::ExitCode;

use clap::Parser;
use measure::Bench;
use threadline::ExportFormat;
use threadline_benches::{Data, Output, Report, Result, Size};

/// Measures what an export costs, beside COPY of the same columns.
#[derive(Parser)]
#[command(bin_name = "cargo bench -p threadline-benches --bench export --")]
struct Options {
    /// The number of changes in the audit log
    #[arg(long, default_value_t = 1_000_000)]
    changes: u32,
    #[command(flatten)]
    output: Output,
}

fn main() -> ExitCode {
    threadline_benches::main(run)
}

fn run(options: &Options) -> Result<bool> {
    let size = Size {
        rows: options.changes / 10,
        changes: options.changes,
    };
    let data = Data::generate(size)?;
    let mut bench = Bench::new(&data)?;
    for round in 1..=3 {
        eprintln!("round {round}");
        bench.copy()?;
        for format in [ExportFormat::Csv, ExportFormat::Json, ExportFormat::Ndjson] {
            bench.export(format)?;
            bench.export_async(format)?;
        }
    }
    let (lines, targets) = bench.best();
    let report = Report {
        size,
        server: data.server()?,
        lines,
        targets,
    };
    options.output.print(&report, &report.targets)
}
