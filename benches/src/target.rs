use comfy_table::Table;
use serde::Serialize;

use crate::{table, two_digits};

/// A limit, and what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    what: String,
    unit: &'static str,
    measured: f64,
    at_most: f64,
}

impl Target {
    /// The unit may also be what it is compared to.
    pub fn new(what: impl Into<String>, unit: &'static str, measured: f64, at_most: f64) -> Self {
        Self {
            what: what.into(),
            unit,
            measured,
            at_most,
        }
    }

    /// What it is measured in.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        self.unit
    }

    /// Whether the limit is kept.
    #[must_use]
    pub fn met(&self) -> bool {
        self.measured <= self.at_most
    }

    /// Keeps the worst of each run of targets for the same thing.
    pub fn keep_worst(targets: &mut Vec<Self>) {
        targets.dedup_by(|next, kept| {
            let same = next.what == kept.what && next.unit == kept.unit;
            if same {
                kept.measured = kept.measured.max(next.measured);
            }
            same
        });
    }

    /// All of them, with a verdict.
    #[must_use]
    pub fn table(targets: &[Self]) -> Table {
        let mut table = table(&["target", "in", "measured", "at most", ""], 2);
        for target in targets {
            table.add_row([
                target.what.clone(),
                target.unit.to_owned(),
                two_digits(target.measured),
                two_digits(target.at_most),
                if target.met() { "met" } else { "NOT MET" }.to_owned(),
            ]);
        }
        table
    }
}
