use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::{Server, Size, Target};

/// What was measured on data of one size.
#[derive(Serialize)]
pub struct Report<L> {
    /// The size.
    #[serde(flatten)]
    pub size: Size,
    /// The server.
    pub server: Server,
    /// The lines of the table.
    #[serde(rename = "measurements")]
    pub lines: Vec<L>,
    /// What is held to a limit.
    pub targets: Vec<Target>,
}

/// A line of a report.
pub trait Line: Serialize {
    /// The names of the columns. All but the first two hold numbers.
    const HEADER: &'static [&'static str];

    /// One text for each column.
    fn cells(&self) -> Vec<String>;
}

impl<L: Line> Report<L> {
    /// All lines.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = table(L::HEADER, 2);
        for line in &self.lines {
            table.add_row(line.cells());
        }
        table
    }
}

impl<L: Line> fmt::Display for Report<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { rows, changes } = self.size;
        let settings = self.server.iter();
        let settings: Vec<_> = settings
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        writeln!(
            f,
            "{rows} rows, {changes} changes; {}\n",
            settings.join(", ")
        )?;
        writeln!(f, "{}", self.table())?;
        if !self.targets.is_empty() {
            writeln!(f, "\n{}", Target::table(&self.targets))?;
        }
        Ok(())
    }
}

/// An empty table in Markdown. Numbers are aligned right, in all columns but the first `texts`.
#[must_use]
pub fn table(header: &[&str], texts: usize) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(texts) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A number with two digits after the point.
#[must_use]
pub fn two_digits(number: f64) -> String {
    format!("{number:.2}")
}
