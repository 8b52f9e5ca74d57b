use std::env;

use lexopt::prelude::*;

use crate::Result;

const HELP: &str = "\
Measures what it costs to read the past.

    cargo bench --bench time_travel -- [OPTIONS]

    --quick        100,000 rows and 500,000 changes instead of ten times as many
    --rows N       as many rows
    --changes N    as many changes, spread over a year
    --sizes        measure what should not depend on the size once more, on the data of --quick
    --plans        print EXPLAIN ANALYZE of every query
    --json         print JSON instead of tables
    --check        exit with 1 if a target is missed
    -h, --help     print this";

/// How much data there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Size {
    pub(crate) rows: u32,
    pub(crate) changes: u32,
}

impl Size {
    pub(crate) const FULL: Self = Self {
        rows: 1_000_000,
        changes: 5_000_000,
    };
    pub(crate) const QUICK: Self = Self {
        rows: 100_000,
        changes: 500_000,
    };
}

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
        let mut options = Self {
            check: false,
            json: false,
            plans: false,
            size: Size::FULL,
            sizes: false,
        };
        // Cargo says `--bench` when it benchmarks, and nothing when it tests: `cargo test --all-targets`.
        let mut benchmarking = false;
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("bench") => benchmarking = true,
                Long("changes") => options.size.changes = parser.value()?.parse()?,
                Long("check") => options.check = true,
                Short('h') | Long("help") => {
                    println!("{HELP}");
                    return Ok(None);
                }
                Long("json") => options.json = true,
                Long("plans") => options.plans = true,
                Long("quick") => options.size = Size::QUICK,
                Long("rows") => options.size.rows = parser.value()?.parse()?,
                Long("sizes") => options.sizes = true,
                unknown => return Err(format!("{}\n\n{HELP}", unknown.unexpected()).into()),
            }
        }
        // The rows that are read must be there 350 days ago, when a thirty-sixth of the changes has been made.
        let Size { rows, changes } = options.size;
        if rows < 10_000 || changes < 250_000 || changes < rows {
            return Err(
                "there must be 10,000 rows and 250,000 changes at least, and no more rows than changes"
                    .into(),
            );
        }
        if !benchmarking {
            let name = env::args().next().unwrap_or_default();
            eprintln!("{name} measures only when it is run by `cargo bench`, or with --bench");
            return Ok(None);
        }
        Ok(Some(options))
    }
}
