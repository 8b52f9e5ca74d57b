use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::{Server, Size};

/// What was measured on data of one size.
#[derive(Serialize)]
pub struct Report<L> {
    #[serde(flatten)]
    pub size: Size,
    pub server: Server,
    #[serde(rename = "measurements")]
    pub lines: Vec<L>,
}

/// A line of a report.
pub trait Line: Serialize {
    /// What the columns are. Numbers stand in all but the first two.
    const HEADER: &'static [&'static str];

    fn cells(&self) -> Vec<String>;

    /// Whether it meets its target, if it has one.
    fn met(&self) -> Option<bool>;
}

impl<L: Line> Report<L> {
    pub fn missed(&self) -> usize {
        let verdicts = self.lines.iter().filter_map(Line::met);
        verdicts.filter(|met| !met).count()
    }

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
        let server: Vec<_> = self
            .server
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        writeln!(f, "{rows} rows, {changes} changes; {}\n", server.join(", "))?;
        writeln!(f, "{}\n", self.table())?;
        let targets = self.lines.iter().filter_map(Line::met).count();
        write!(f, "{} of {targets} targets met", targets - self.missed())
    }
}

/// Numbers stand on the right, in all but the first columns, which are texts.
pub fn table(header: &[&str], texts: usize) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(texts) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub fn two_digits(number: f64) -> String {
    format!("{number:.2}")
}

pub fn verdict(met: bool) -> String {
    if met { "met" } else { "NOT MET" }.to_owned()
}
