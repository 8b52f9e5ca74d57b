//! What a page of the timeline costs: the first one and one far down, by filters that let through much or little.
//!
//! ```sh
//! cargo bench --bench timeline            # 10 million changes; some minutes
//! cargo bench --bench timeline -- --help
//! ```
//!
//! The server comes from where the tests have theirs, and the data from `log.sql`. Every page is checked against the
//! record, in another way than it was read.

#[path = "timeline/measure.rs"]
mod measure;
#[path = "timeline/options.rs"]
mod options;
#[path = "timeline/pages.rs"]
mod pages;
#[path = "timeline/plans.rs"]
mod plans;
#[path = "timeline/reads.rs"]
mod reads;
#[path = "support/mod.rs"]
mod support;
#[path = "support/times.rs"]
mod times;

use std::process::ExitCode;

use measure::Bench;
use options::Options;
use support::Result;
use support::data::Data;
use support::report::{Report, json};

fn main() -> ExitCode {
    support::exit_code(
        Options::of_command_line().and_then(|options| options.as_ref().map(run).transpose()),
    )
}

/// Whether all is as it should be.
fn run(options: &Options) -> Result<bool> {
    let data = Data::generate(options.size)?;
    let mut bench = Bench::new(&data, options)?;
    pages::many(&mut bench)?;
    pages::few(&mut bench)?;
    let report = Report {
        size: options.size,
        server: data.server()?,
        lines: bench.measurements,
    };
    if options.json {
        println!("{}", json(std::slice::from_ref(&report)));
    } else {
        println!("\n{report}");
    }
    Ok(!options.check || report.missed() == 0)
}
