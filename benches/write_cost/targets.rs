use serde::Serialize;

use crate::rows::Cost;
use crate::shape::{How, Write};
use crate::subject::Subject;

/// What Threadline is held to, as a part of what somebody else takes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) what: &'static str,
    pub(crate) compared_to: &'static str,
    pub(crate) ratio: f64,
    pub(crate) at_most: f64,
    pub(crate) met: bool,
}

impl Target {
    fn new(what: &'static str, compared_to: &'static str, ratio: f64, at_most: f64) -> Self {
        Self {
            what,
            compared_to,
            ratio,
            at_most,
            met: ratio <= at_most,
        }
    }
}

/// The granularity that is better for it, and the typed history of the same.
fn better<'a>(
    costs: &'a [Cost],
    shape: &str,
    write: Write,
    how: How,
) -> Option<(&'a Cost, &'a Cost)> {
    let of = |subject| Cost::of(costs, shape, write, how, subject);
    let row = (of(Subject::Row)?, of(Subject::TypedRow)?);
    let statement = (of(Subject::Statement)?, of(Subject::TypedStatement)?);
    let row_is_better = how != How::Bulk && row.0.overhead_us < statement.0.overhead_us;
    Some(if row_is_better { row } else { statement })
}

/// Of the usual row; and of the widest one, if it was measured.
pub(crate) fn targets(costs: &[Cost], usual: &str, widest: &str) -> Vec<Target> {
    let mut targets = Vec::new();
    for (what, write, how, plain_at_most, typed_at_most) in [
        ("INSERT of one row", Write::Insert, How::Single, 0.35, 0.65),
        ("UPDATE of one row", Write::Update, How::Single, 0.38, 0.95),
        (
            "bulk INSERT, by statement",
            Write::Insert,
            How::Bulk,
            0.16,
            2.0,
        ),
        (
            "bulk UPDATE, by statement",
            Write::Update,
            How::Bulk,
            0.14,
            2.0,
        ),
        (
            "bulk DELETE, by statement",
            Write::Delete,
            How::Bulk,
            0.18,
            2.0,
        ),
    ] {
        let plain = Cost::of(costs, usual, write, how, Subject::Plain);
        if let (Some(plain), Some((ours, typed))) = (plain, better(costs, usual, write, how)) {
            targets.extend([
                Target::new(
                    what,
                    "plain trigger",
                    ours.overhead_us / plain.overhead_us,
                    plain_at_most,
                ),
                Target::new(
                    what,
                    "typed history",
                    ours.overhead_us / typed.overhead_us,
                    typed_at_most,
                ),
                Target::new(
                    what,
                    "plain trigger's WAL",
                    ours.wal_bytes / plain.wal_bytes,
                    1.0,
                ),
            ]);
        }
    }
    for (what, how) in [
        ("UPDATE of one row, 1 of 80 columns", How::Single),
        ("bulk UPDATE, 1 of 80 columns", How::Bulk),
    ] {
        let plain = Cost::of(costs, widest, Write::Update, how, Subject::Plain);
        if let (Some(plain), Some((ours, _))) = (plain, better(costs, widest, Write::Update, how)) {
            let ratio = ours.overhead_us / plain.overhead_us;
            targets.push(Target::new(what, "plain trigger", ratio, 0.25));
        }
    }
    targets
}
