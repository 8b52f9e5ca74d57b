//! What an export costs, beside PostgreSQL's own `COPY` of the same columns.
//!
//! ```sh
//! cargo bench --bench export              # 1 million changes; a minute
//! cargo bench --bench export -- --help
//! ```
//!
//! The server comes from where the tests have theirs, and the data from `log.sql`.

#[path = "export/measure.rs"]
mod measure;
#[path = "export/memory.rs"]
mod memory;
#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;

use measure::Bench;
use support::Result;
use support::command_line::CommandLine;
use support::data::{Data, Size};
use support::report::Report;
use threadline::ExportFormat;

const COMMAND_LINE: CommandLine = CommandLine {
    help: "\
Measures what an export costs, beside COPY of the same columns.

    cargo bench --bench export -- [OPTIONS]

    --changes N    as many changes; 1,000,000 unless told otherwise
    --json         print JSON instead of tables
    --check        exit with 1 if a target is missed
    -h, --help     print this",
    flags: &["check", "json"],
    numbers: &["changes"],
    words: &[],
};

fn main() -> ExitCode {
    support::exit_code(run())
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
