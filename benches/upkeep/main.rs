//! What a purge and a baseline do to those who write meanwhile.
//!
//! ```sh
//! cargo bench -p threadline-benches --bench upkeep              # 5 million changes; five minutes
//! cargo bench -p threadline-benches --bench upkeep -- --help
//! ```
//!
//! The server comes from where the tests have theirs, and the data from `log.sql`. `pgbench` writes to the tables that are worked
//! on, at a rate that leaves the machine something to work with.

mod work;
mod writers;

use std::process::ExitCode;

use serde::Serialize;
use threadline_benches::CommandLine;
use threadline_benches::Result;
use threadline_benches::{Data, Size};
use threadline_benches::{Line, Report, two_digits, verdict};
use writers::Latencies;

const COMMAND_LINE: CommandLine = CommandLine {
    help: "\
Measures what a purge and a baseline do to those who write meanwhile.

    cargo bench -p threadline-benches --bench upkeep -- [OPTIONS]

    --changes N    as many changes in the record; 5,000,000 unless told otherwise
    --rows N       as many rows for the baseline; 1,000,000 unless told otherwise
    --rate N       as many transactions of writers a second; 500 unless told otherwise
    --json         print JSON instead of tables
    --check        exit with 1 if a target is missed
    -h, --help     print this",
    flags: &["check", "json"],
    numbers: &["changes", "rate", "rows"],
    words: &[],
};

/// What was done while others wrote.
#[derive(Serialize)]
struct Measured {
    work: &'static str,
    unit: &'static str,
    count: u64,
    seconds: f64,
    /// Of one step of it, which is a transaction.
    longest_step_seconds: f64,
    writers: Latencies,
    /// How much longer the 99th percentile of the writers is than without the work.
    p99_ratio: f64,
    met: Option<bool>,
}

impl Line for Measured {
    const HEADER: &'static [&'static str] = &[
        "work",
        "unit",
        "count",
        "s",
        "longest step, s",
        "writers' p50, ms",
        "p99, ms",
        "longest, ms",
        "p99 / without",
        "target",
    ];

    fn cells(&self) -> Vec<String> {
        let Latencies {
            p50, p99, longest, ..
        } = self.writers;
        vec![
            self.work.to_owned(),
            self.unit.to_owned(),
            self.count.to_string(),
            two_digits(self.seconds),
            two_digits(self.longest_step_seconds),
            two_digits(p50),
            two_digits(p99),
            two_digits(longest),
            two_digits(self.p99_ratio),
            self.met.map(verdict).unwrap_or_default(),
        ]
    }

    fn met(&self) -> Option<bool> {
        self.met
    }
}

fn main() -> ExitCode {
    threadline_benches::exit_code(run())
}

/// Whether all is as it should be.
fn run() -> Result<Option<bool>> {
    let Some(arguments) = COMMAND_LINE.read()? else {
        return Ok(None);
    };
    let changes = arguments.number("changes").unwrap_or(5_000_000);
    let size = Size {
        rows: changes / 20,
        changes,
    };
    let data = Data::generate(size)?;
    let rate = arguments.number("rate").unwrap_or(500);
    let lines = work::measure(&data, rate, arguments.number("rows").unwrap_or(1_000_000))?;
    let report = Report {
        size,
        server: data.server()?,
        lines,
    };
    if arguments.has("json") {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("\n{report}");
    }
    Ok(Some(!arguments.has("check") || report.missed() == 0))
}
