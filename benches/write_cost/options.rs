use clap::{Parser, ValueEnum};
use threadline_benches::{Output, Size};

/// Measures what Threadline costs, beside other ways to audit a table, and what it costs to read the audit log.
///
/// A server is started, or the one of `DATABASE_URL` is used if it runs on this machine. `THREADLINE_TEST_DIRECTORY` names a place
/// for its data if memory is too small. In memory a sync costs nothing, so tpcb wants a disk.
#[derive(Parser)]
#[command(bin_name = "cargo bench -p threadline-benches --bench write_cost --")]
pub(crate) struct Options {
    /// What to measure; by default everything, which takes an hour and 60 GB
    parts: Vec<Part>,
    /// Measure rows, shapes, clients and tpcb unless parts are named, with less data: four minutes
    #[arg(long)]
    pub(crate) quick: bool,
    /// The number of changes for growth, time-travel and timeline
    // The rows that are read must exist 350 days ago, when a thirty-sixth of the changes has been made.
    #[arg(long, value_parser = clap::value_parser!(u32).range(250_000..))]
    changes: Option<u32>,
    /// Write what was measured into docs/performance.md, and its targets into CONTRIBUTING.md
    #[arg(long)]
    pub(crate) docs: bool,
    /// Print EXPLAIN ANALYZE of what is read
    #[arg(long)]
    pub(crate) plans: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Part {
    /// What a row costs by CPU, WAL and bytes of the audit log
    Rows,
    /// The same for rows of 5, 20 and 80 columns, small and of 8 kB
    Shapes,
    /// Transactions per second of 1, 2 and 8 clients
    Clients,
    /// TPC-B of pgbench, four audited tables, transactions a second of 1 and 2 clients
    Tpcb,
    /// What a row costs less without some indexes of the audit log
    Indexes,
    /// What a row costs with 0, 10 and 50 million changes in the audit log
    Growth,
    /// Reads of the past, in 5 million changes
    TimeTravel,
    /// Pages of the timeline, in 10 million changes
    Timeline,
}

impl Options {
    pub(crate) fn include(&self, part: Part) -> bool {
        if self.parts.is_empty() {
            !self.quick || [Part::Rows, Part::Shapes, Part::Clients, Part::Tpcb].contains(&part)
        } else {
            self.parts.contains(&part)
        }
    }

    /// The numbers of changes, besides none, with which a row is measured.
    pub(crate) fn growth(&self) -> Vec<u32> {
        let mut sizes = vec![self.changes(10_000_000), self.changes(50_000_000)];
        sizes.dedup();
        sizes
    }

    pub(crate) fn time_travel(&self) -> Size {
        let changes = self.changes(5_000_000);
        Size {
            rows: changes / 5,
            changes,
        }
    }

    pub(crate) fn timeline(&self) -> Size {
        ten_a_row(self.changes(10_000_000))
    }

    fn changes(&self, at_length: u32) -> u32 {
        let default = if self.quick { 500_000 } else { at_length };
        self.changes.unwrap_or(default)
    }
}

pub(crate) fn ten_a_row(changes: u32) -> Size {
    Size {
        rows: changes / 10,
        changes,
    }
}
