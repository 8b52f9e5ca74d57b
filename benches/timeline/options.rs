use crate::support::Result;
use crate::support::command_line::CommandLine;
use crate::support::data::Size;

const COMMAND_LINE: CommandLine = CommandLine {
    help: "\
Measures what a page of the timeline costs.

    cargo bench --bench timeline -- [OPTIONS]

    --quick        500,000 changes, and the page far down is the 1,000th
    --changes N    as many changes, spread over a year; 10,000,000 unless told otherwise
    --plans        print EXPLAIN ANALYZE of all that is executed for a page
    --json         print JSON instead of tables
    --check        exit with 1 if a target is missed
    -h, --help     print this",
    flags: &["check", "json", "plans", "quick"],
    numbers: &["changes"],
};

pub(crate) struct Options {
    pub(crate) check: bool,
    pub(crate) json: bool,
    pub(crate) plans: bool,
    pub(crate) size: Size,
}

impl Options {
    /// None when there is nothing to measure.
    pub(crate) fn of_command_line() -> Result<Option<Self>> {
        let Some(arguments) = COMMAND_LINE.read()? else {
            return Ok(None);
        };
        let quick = arguments.has("quick");
        let changes = if quick { 500_000 } else { 10_000_000 };
        let changes = arguments.number("changes").unwrap_or(changes);
        if changes < 250_000 {
            return Err("there must be 250,000 changes at least".into());
        }
        Ok(Some(Self {
            check: arguments.has("check"),
            json: arguments.has("json"),
            plans: arguments.has("plans"),
            size: Size {
                rows: changes / 10,
                changes,
            },
        }))
    }

    /// The page far down. A tenth of the changes precedes it, which is less than the filters for many let through.
    pub(crate) fn deep_page(&self) -> u32 {
        (self.size.changes / 500).min(10_000)
    }
}
