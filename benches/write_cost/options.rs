use threadline_benches::CommandLine;
use threadline_benches::Result;
use threadline_benches::Size;

const COMMAND_LINE: CommandLine = CommandLine {
    help: "\
Measures what Threadline costs, beside other ways to keep a record, and what it costs to read the record.

    cargo bench -p threadline-benches --bench write_cost -- [OPTIONS] [PART]...

Parts; all of them unless named, which takes an hour and 60 GB:

    rows           what a row costs by CPU, WAL and bytes of the record
    shapes         the same for rows of 5, 20 and 80 columns, small and of 8 kB
    clients        transactions a second of 1, 2 and 8 clients
    indexes        what a row costs less without some of the record's indexes
    growth         what a row costs with 0, 10 and 50 million changes in the record
    time-travel    reading the past, in 5 million changes
    timeline       pages of the timeline, in 10 million changes

    --quick        rows, 80 columns and clients, in less than a minute; a tenth or a twentieth of the changes
    --changes N    as many changes for growth, time-travel and timeline
    --json         print JSON instead of tables
    --docs         write the tables of docs/performance.md
    --check        exit with 1 if a target is missed
    --plans        print EXPLAIN ANALYZE of what is read
    --sizes        read the past in the data of --quick as well, to compare
    -h, --help     print this

A server is started, or the one of DATABASE_URL used, if it is on this machine. THREADLINE_TEST_DIRECTORY says where its data are
to be, if memory is too small.",
    flags: &["check", "docs", "json", "plans", "quick", "sizes"],
    numbers: &["changes"],
    words: &["rows", "shapes", "clients", "indexes", "growth", "time-travel", "timeline"],
};

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Options {
    pub(crate) check: bool,
    pub(crate) docs: bool,
    pub(crate) json: bool,
    pub(crate) plans: bool,
    pub(crate) quick: bool,
    pub(crate) sizes: bool,
    changes: Option<u32>,
    parts: Vec<&'static str>,
}

impl Options {
    /// None when there is nothing to measure.
    pub(crate) fn of_command_line() -> Result<Option<Self>> {
        let Some(arguments) = COMMAND_LINE.read()? else {
            return Ok(None);
        };
        let options = Self {
            check: arguments.has("check"),
            docs: arguments.has("docs"),
            json: arguments.has("json"),
            plans: arguments.has("plans"),
            quick: arguments.has("quick"),
            sizes: arguments.has("sizes"),
            changes: arguments.number("changes"),
            parts: arguments.words,
        };
        // The rows that are read must be there 350 days ago, when a thirty-sixth of the changes has been made.
        if options.changes.is_some_and(|changes| changes < 250_000) {
            return Err("there must be 250,000 changes at least".into());
        }
        if options.sizes && options.quick {
            return Err("--sizes compares with the data of --quick, which is this".into());
        }
        Ok(Some(options))
    }

    pub(crate) fn asks_for(&self, part: &str) -> bool {
        if self.parts.is_empty() {
            !self.quick || ["rows", "shapes", "clients"].contains(&part)
        } else {
            self.parts.contains(&part)
        }
    }

    /// How many changes there are when it is measured what a row costs; other numbers than none.
    pub(crate) fn growth(&self) -> Vec<u32> {
        match (self.changes, self.quick) {
            (Some(changes), _) => vec![changes],
            (None, true) => vec![500_000],
            (None, false) => vec![10_000_000, 50_000_000],
        }
    }

    pub(crate) fn time_travel(&self) -> Size {
        if self.quick {
            return Self::QUICK_TIME_TRAVEL;
        }
        let changes = self.changes.unwrap_or(5_000_000);
        Size {
            rows: changes / 5,
            changes,
        }
    }

    pub(crate) const QUICK_TIME_TRAVEL: Size = Size {
        rows: 100_000,
        changes: 500_000,
    };

    pub(crate) fn timeline(&self) -> Size {
        let changes = if self.quick { 500_000 } else { 10_000_000 };
        ten_a_row(self.changes.unwrap_or(changes))
    }
}

/// So many changes of a tenth as many rows.
pub(crate) fn ten_a_row(changes: u32) -> Size {
    Size {
        rows: changes / 10,
        changes,
    }
}
