use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde_json::json;

use crate::measure::Measurement;
use crate::options::Size;

/// What was measured on data of one size.
pub(crate) struct Report {
    pub(crate) size: Size,
    pub(crate) server: Vec<(&'static str, String)>,
    pub(crate) measurements: Vec<Measurement>,
}

impl Report {
    pub(crate) fn missed(&self) -> usize {
        let verdicts = self.measurements.iter().filter_map(|m| m.met);
        verdicts.filter(|met| !met).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { rows, changes } = self.size;
        let server: Vec<_> = self
            .server
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        writeln!(f, "{rows} rows, {changes} changes; {}\n", server.join(", "))?;
        let mut table = table([
            "form",
            "as of",
            "first ms",
            "minimum ms",
            "median ms",
            "× live",
            "at most ms",
            "target",
            "plan",
        ]);
        let two_digits = |number: f64| format!("{number:.2}");
        for m in &self.measurements {
            table.add_row([
                m.form.to_owned(),
                m.as_of.clone(),
                two_digits(m.first),
                two_digits(m.minimum),
                two_digits(m.median),
                m.ratio
                    .map(|ratio| format!("{ratio:.1}"))
                    .unwrap_or_default(),
                m.target.map(two_digits).unwrap_or_default(),
                m.met.map(verdict).unwrap_or_default().to_owned(),
                m.plan.unwrap_or_default().to_owned(),
            ]);
        }
        writeln!(f, "{table}\n")?;
        let targets = self.measurements.iter().filter(|m| m.met.is_some()).count();
        write!(f, "{} of {targets} targets met", targets - self.missed())
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "NOT MET" }
}

/// The medians of what was measured on both, side by side.
pub(crate) fn sizes(large: &Report, small: &Report) -> Table {
    let changes = |report: &Report| format!("ms, {} changes", report.size.changes);
    let mut table = table(["form", "as of", &changes(small), &changes(large), "×"]);
    for (m, n) in small.measurements.iter().zip(&large.measurements) {
        table.add_row([
            m.form.to_owned(),
            m.as_of.clone(),
            format!("{:.2}", m.median),
            format!("{:.2}", n.median),
            format!("{:.1}", n.median / m.median),
        ]);
    }
    table
}

pub(crate) fn json(reports: &[Report]) -> serde_json::Value {
    let report = |r: &Report| {
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
            "milliseconds": r.measurements,
        })
    };
    reports.iter().map(report).collect()
}

/// Numbers stand on the right of all but the first two columns.
fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
