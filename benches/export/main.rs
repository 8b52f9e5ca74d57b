//! What an export costs, beside PostgreSQL's own `COPY` of the same columns.
//!
//! ```sh
//! cargo bench -p threadline-benches --bench export              # 1 million changes; a minute
//! cargo bench -p threadline-benches --bench export -- --help
//! ```
//!
//! The server comes from where the tests have theirs, and the data from `log.sql`.

mod measure;
mod memory;

use std::process::ExitCode;

use measure::Bench;
use threadline::ExportFormat;
use threadline_benches::CommandLine;
use threadline_benches::Report;
use threadline_benches::Result;
use threadline_benches::{Data, Size};

const COMMAND_LINE: CommandLine = CommandLine {
    help: "\
Measures what an export costs, beside COPY of the same columns.

    cargo bench -p threadline-benches --bench export -- [OPTIONS]

    --changes N    as many changes; 1,000,000 unless told otherwise
    --json         print JSON instead of tables
    --check        exit with 1 if a target is missed
    -h, --help     print this",
    flags: &["check", "json"],
    numbers: &["changes"],
    words: &[],
};

fn main() -> ExitCode {
    threadline_benches::exit_code(run())
}

/// Whether all is as it should be.
fn run() -> Result<Option<bool>> {
    let Some(arguments) = COMMAND_LINE.read()? else {
        return Ok(None);
    };
    let changes = arguments.number("changes").unwrap_or(1_000_000);
    let size = Size {
        rows: changes / 10,
        changes,
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
    let report = Report {
        size,
        server: data.server()?,
        lines: bench.best(),
    };
    if arguments.has("json") {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("\n{report}");
    }
    Ok(Some(!arguments.has("check") || report.missed() == 0))
}
