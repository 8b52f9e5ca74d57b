use comfy_table::Table;

use super::measure::Measurement;
use threadline_benches::{Line, Report, table, two_digits, verdict};

impl Line for Measurement {
    const HEADER: &'static [&'static str] = &[
        "form",
        "as of",
        "first ms",
        "minimum ms",
        "median ms",
        "× live",
        "at most ms",
        "target",
        "plan",
    ];

    fn cells(&self) -> Vec<String> {
        let ratio = self.ratio.map(|ratio| format!("{ratio:.1}"));
        vec![
            self.form.to_owned(),
            self.as_of.clone(),
            two_digits(self.times.first),
            two_digits(self.times.minimum),
            two_digits(self.times.median),
            ratio.unwrap_or_default(),
            self.target.map(two_digits).unwrap_or_default(),
            self.met.map(verdict).unwrap_or_default(),
            self.plan.unwrap_or_default().to_owned(),
        ]
    }

    fn met(&self) -> Option<bool> {
        self.met
    }
}

/// The medians of what was measured on both, side by side.
pub(crate) fn sizes(large: &Report<Measurement>, small: &Report<Measurement>) -> Table {
    let changes = |report: &Report<_>| format!("ms, {} changes", report.size.changes);
    let mut table = table(&["form", "as of", &changes(small), &changes(large), "×"], 2);
    for (m, n) in small.lines.iter().zip(&large.lines) {
        table.add_row([
            m.form.to_owned(),
            m.as_of.clone(),
            two_digits(m.times.median),
            two_digits(n.times.median),
            format!("{:.1}", n.times.median / m.times.median),
        ]);
    }
    table
}
