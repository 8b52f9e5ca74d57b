use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use serde_json::json;

use super::data::Size;

/// What was measured on data of one size.
pub(crate) struct Report<L> {
    pub(crate) size: Size,
    pub(crate) server: Vec<(&'static str, String)>,
    pub(crate) lines: Vec<L>,
}

/// A line of a report.
pub(crate) trait Line: Serialize {
    /// What the columns are. Numbers stand in all but the first two.
    const HEADER: &'static [&'static str];

    fn cells(&self) -> Vec<String>;

    /// Whether it meets its target, if it has one.
    fn met(&self) -> Option<bool>;
}

impl<L: Line> Report<L> {
    pub(crate) fn missed(&self) -> usize {
        let verdicts = self.lines.iter().filter_map(Line::met);
        verdicts.filter(|met| !met).count()
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
        let mut table = table(L::HEADER);
        for line in &self.lines {
            table.add_row(line.cells());
        }
        writeln!(f, "{table}\n")?;
        let targets = self.lines.iter().filter_map(Line::met).count();
        write!(f, "{} of {targets} targets met", targets - self.missed())
    }
}

pub(crate) fn json<L: Line>(reports: &[Report<L>]) -> serde_json::Value {
    let report = |r: &Report<L>| {
        let server: serde_json::Map<_, _> = r
            .server
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({
            "rows": r.size.rows,
            "changes": r.size.changes,
            "server": server,
            "missed": r.missed(),
            "measurements": r.lines,
        })
    };
    reports.iter().map(report).collect()
}

/// Numbers stand on the right of all but the first two columns.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(crate) fn two_digits(number: f64) -> String {
    format!("{number:.2}")
}

pub(crate) fn verdict(met: bool) -> String {
    if met { "met" } else { "NOT MET" }.to_owned()
}
