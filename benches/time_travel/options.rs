use crate::support::Result;
use crate::support::command_line::CommandLine;
use crate::support::data::Size;

const COMMAND_LINE: CommandLine = CommandLine {
    help: "\
Measures what it costs to read the past.

    cargo bench --bench time_travel -- [OPTIONS]

    --quick        100,000 rows and 500,000 changes instead of ten times as many
    --rows N       as many rows
    --changes N    as many changes, spread over a year
    --sizes        measure what should not depend on the size once more, on the data of --quick
    --plans        print EXPLAIN ANALYZE of every query
    --json         print JSON instead of tables
    --check        exit with 1 if a target is missed
    -h, --help     print this",
    flags: &["check", "json", "plans", "quick", "sizes"],
    numbers: &["changes", "rows"],
};

const FULL: Size = Size {
    rows: 1_000_000,
    changes: 5_000_000,
};
pub(crate) const QUICK: Size = Size {
    rows: 100_000,
    changes: 500_000,
};

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Options {
    pub(crate) check: bool,
    pub(crate) json: bool,
    pub(crate) plans: bool,
    pub(crate) size: Size,
    pub(crate) sizes: bool,
}

impl Options {
    /// None when there is nothing to measure.
    pub(crate) fn of_command_line() -> Result<Option<Self>> {
        let Some(arguments) = COMMAND_LINE.read()? else {
            return Ok(None);
        };
        let size = if arguments.has("quick") { QUICK } else { FULL };
        let options = Self {
            check: arguments.has("check"),
            json: arguments.has("json"),
            plans: arguments.has("plans"),
            size: Size {
                rows: arguments.number("rows").unwrap_or(size.rows),
                changes: arguments.number("changes").unwrap_or(size.changes),
            },
            sizes: arguments.has("sizes"),
        };
        // The rows that are read must be there 350 days ago, when a thirty-sixth of the changes has been made.
        let Size { rows, changes } = options.size;
        if rows < 10_000 || changes < 250_000 || changes < rows {
            return Err(
                "there must be 10,000 rows and 250,000 changes at least, and no more rows than changes"
                    .into(),
            );
        }
        if options.sizes && options.size == QUICK {
            return Err("--sizes compares with the data of --quick, which is this".into());
        }
        Ok(Some(options))
    }
}
