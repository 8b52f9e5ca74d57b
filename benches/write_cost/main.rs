//! What it costs to have a table audited, beside other ways to keep a record of it, and what it costs to read the record.
//!
//! ```sh
//! cargo bench -p threadline-benches --bench write_cost -- --quick    # less than a minute
//! cargo bench -p threadline-benches --bench write_cost               # an hour, and 60 GB
//! cargo bench -p threadline-benches --bench write_cost -- --help
//! ```
//!
//! The server comes from where the tests have theirs. It needs Linux, whose kernel counts the CPU time of a server process.

mod clients;
mod docs;
mod growth;
mod indexes;
mod meter;
mod options;
mod report;
mod rows;
mod shape;
mod subject;
mod targets;
mod time_travel;
mod timeline;
mod times;

use std::process::ExitCode;
use std::time::Duration;

use options::Options;
use report::Report;
use rows::Amount;
use shape::Shape;
use threadline_benches::Data;
use threadline_benches::Result;
use threadline_test_support::Database;

fn main() -> ExitCode {
    threadline_benches::exit_code(
        Options::of_command_line().and_then(|options| options.as_ref().map(run).transpose()),
    )
}

/// Whether all is as it should be.
fn run(options: &Options) -> Result<bool> {
    let mut report = Report::of_this_machine()?;
    if options.asks_for("rows") {
        report.rows = rows::measure(&Shape::usual(), amount(options.quick))?;
    }
    if options.asks_for("shapes") {
        for shape in shapes(options.quick) {
            let amount = Amount {
                rounds: if options.quick { 2 } else { 5 },
                single: 300,
                bulk: 1000,
            };
            report.shapes.extend(rows::measure(&shape, amount)?);
        }
    }
    report.set_targets();
    if options.asks_for("clients") {
        let (rounds, duration) = if options.quick {
            (1, Duration::from_millis(400))
        } else {
            (5, Duration::from_secs(2))
        };
        report.clients = clients::measure(rounds, duration)?;
    }
    if options.asks_for("indexes") {
        report.indexes = indexes::measure(amount(options.quick))?;
    }
    let mut sizes = Vec::new();
    if options.asks_for("growth") {
        report.growth = growth::measure(&Database::new(), 0, amount(options.quick))?;
        sizes = options.growth();
    }
    let timeline = options.timeline();
    if options.asks_for("timeline") && !sizes.contains(&timeline.changes) {
        sizes.push(timeline.changes);
    }
    for changes in sizes {
        let data = Data::generate(options::ten_a_row(changes))?;
        if options.asks_for("timeline") && changes == timeline.changes {
            report.timeline = Some(timeline::measure(&data, timeline, options.plans)?);
        }
        if options.asks_for("growth") {
            let growth = growth::measure(&data.database, changes, amount(options.quick))?;
            report.growth.extend(growth);
        }
    }
    if options.asks_for("time-travel") {
        let size = options.time_travel();
        report.time_travel = Some(time_travel::measure(size, false, options.plans)?);
    }
    if options.sizes {
        let small = time_travel::measure(Options::QUICK_TIME_TRAVEL, true, options.plans)?;
        report.small_time_travel = Some(small);
    }
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("\n{report}");
    }
    if options.docs {
        docs::write(&report)?;
    }
    Ok(!options.check || report.missed() == 0)
}

fn amount(quick: bool) -> Amount {
    if quick {
        Amount {
            rounds: 3,
            single: 1000,
            bulk: 4000,
        }
    } else {
        Amount {
            rounds: 10,
            single: 3000,
            bulk: 10_000,
        }
    }
}

fn shapes(quick: bool) -> Vec<Shape> {
    let widest = Shape::of(80, false);
    if quick {
        return vec![widest];
    }
    let mut shapes: Vec<_> = [5, 20]
        .into_iter()
        .flat_map(|columns| [Shape::of(columns, false), Shape::of(columns, true)])
        .collect();
    shapes.extend([widest, Shape::of(80, true)]);
    shapes
}
