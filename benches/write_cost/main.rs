//! What it costs to have a table audited, beside other ways to audit it, and what it costs to read the audit log.
//!
//! ```sh
//! cargo bench -p threadline-benches --bench write_cost -- --quick    # four minutes
//! cargo bench -p threadline-benches --bench write_cost               # an hour, and 60 GB
//! cargo bench -p threadline-benches --bench write_cost -- --help
//! ```
//!
//! The server is the one that the tests use. It must run on Linux, whose kernel counts the CPU time of a server process.

mod clients;
mod contest;
mod docs;
mod meter;
mod options;
mod report;
mod request;
mod rows;
mod shape;
mod subject;
mod targets;
mod time_travel;
mod timeline;
mod times;
mod tpcb;

use std::process::ExitCode;
use std::time::Duration;

use contest::Amount;
use options::{Options, Part, ten_a_row};
use report::Report;
use shape::Shape;
use threadline_benches::{Data, Result};
use threadline_test_support::Database;

fn main() -> ExitCode {
    threadline_benches::main(run)
}

fn run(options: &Options) -> Result<bool> {
    let (rounds, single, bulk) = if options.quick {
        (3, 1000, 4000)
    } else {
        (10, 3000, 10_000)
    };
    let amount = Amount {
        rounds,
        single,
        bulk,
    };
    let mut report = Report::of_this_machine()?;
    if options.include(Part::Rows) {
        report.rows = rows::by_subject(&Shape::usual(), amount)?;
    }
    if options.include(Part::Shapes) {
        for shape in shapes(options.quick) {
            let rounds = if options.quick { 2 } else { 5 };
            let (single, bulk) = (300, 1000);
            let amount = Amount {
                rounds,
                single,
                bulk,
            };
            report.shapes.extend(rows::by_subject(&shape, amount)?);
        }
    }
    if options.include(Part::Clients) {
        let (rounds, milliseconds) = if options.quick { (1, 400) } else { (5, 2000) };
        report.clients = clients::measure(rounds, Duration::from_millis(milliseconds))?;
    }
    if options.include(Part::Tpcb) {
        let (rounds, seconds, scale) = if options.quick {
            (3, 2, 5)
        } else {
            (5, 10, 10)
        };
        report.tpcb = Some(tpcb::measure(tpcb::Amount {
            rounds,
            seconds,
            scale,
        })?);
    }
    if options.include(Part::Indexes) {
        report.indexes = rows::by_indexes(amount)?;
    }
    let mut sizes = Vec::new();
    if options.include(Part::Growth) {
        report.growth = rows::with_changes(&Database::new(), 0, amount)?;
        sizes = options.growth();
    }
    let timeline = options.timeline();
    if options.include(Part::Timeline) && !sizes.contains(&timeline.changes) {
        sizes.push(timeline.changes);
    }
    for changes in sizes {
        let data = Data::generate(ten_a_row(changes))?;
        if options.include(Part::Timeline) && changes == timeline.changes {
            report.timeline = Some(timeline::measure(&data, timeline, options.plans)?);
        }
        if options.include(Part::Growth) {
            let costs = rows::with_changes(&data.database, changes, amount)?;
            report.growth.extend(costs);
        }
    }
    if options.include(Part::TimeTravel) {
        let size = options.time_travel();
        report.time_travel = Some(time_travel::measure(size, options.plans)?);
    }
    let targets = targets::targets(&report);
    if options.docs {
        docs::write(&report, &targets)?;
    }
    report.targets = targets.into_iter().flat_map(|(_, t)| t).collect();
    options.output.print(&report, &report.targets)
}

fn shapes(quick: bool) -> Vec<Shape> {
    if quick {
        return vec![Shape::of(80, false)];
    }
    let shapes = |columns| [false, true].map(|wide| Shape::of(columns, wide));
    [5, 20, 80].into_iter().flat_map(shapes).collect()
}
