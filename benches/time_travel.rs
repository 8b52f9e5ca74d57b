//! What it costs to read the past, beside the same query on the live tables.
//!
//! ```sh
//! cargo bench --bench time_travel            # 5 million changes; some minutes
//! cargo bench --bench time_travel -- --help
//! ```
//!
//! The server comes from where the tests have theirs, and the data from `log.sql`. Every result is checked against the
//! record, in another way than it was read.

#[path = "time_travel/forms.rs"]
mod forms;
#[path = "time_travel/measure.rs"]
mod measure;
#[path = "time_travel/options.rs"]
mod options;
#[path = "time_travel/report.rs"]
mod report;
#[path = "support/mod.rs"]
mod support;
#[path = "support/times.rs"]
mod times;

use std::process::ExitCode;

use measure::{Bench, Measurement};
use options::{Options, QUICK};
use support::Result;
use support::data::{Data, Size};
use support::report::{Report, json};

fn main() -> ExitCode {
    support::exit_code(
        Options::of_command_line().and_then(|options| options.as_ref().map(run).transpose()),
    )
}

/// Whether all is as it should be.
fn run(options: &Options) -> Result<bool> {
    let mut reports = vec![measured(options.size, options)?];
    if options.sizes {
        reports.push(measured(QUICK, options)?);
    }
    if options.json {
        println!("{}", json(&reports));
    } else if let [report, small] = &reports[..] {
        println!("\n{}", report::sizes(report, small));
    }
    Ok(!options.check || reports[0].missed() == 0)
}

fn measured(size: Size, options: &Options) -> Result<Report<Measurement>> {
    let data = Data::generate(size)?;
    let mut bench = Bench::new(&data, options.plans);
    forms::row_by_key(&mut bench)?;
    forms::rows_by_key(&mut bench)?;
    forms::join(&mut bench)?;
    // The second size is there to show that the forms above do not depend on it.
    if size == options.size {
        forms::whole_table(&mut bench)?;
    }
    let report = Report {
        size,
        server: data.server()?,
        lines: bench.measurements,
    };
    if !options.json {
        println!("\n{report}");
    }
    Ok(report)
}
