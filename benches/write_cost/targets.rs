use threadline_benches::Target;

use crate::report::Report;
use crate::rows::Cost;
use crate::shape::{How, Shape, Write};
use crate::subject::Subject;
use crate::tpcb::Tpcb;

/// What a row may cost with many changes in the audit log, as a multiple of what it costs with none.
const GROWS: f64 = 1.3;

/// A kind of work, with the most that it may cost as a multiple of the plain trigger and of the typed history.
const USUAL: [(&str, Write, How, f64, f64); 9] = [
    ("INSERT of one row", Write::Insert, How::Single, 0.65, 1.1),
    ("UPDATE of one row", Write::Update, How::Single, 0.50, 1.1),
    ("DELETE of one row", Write::Delete, How::Single, 0.65, 1.1),
    (
        "INSERT; COMMIT",
        Write::Insert,
        How::Transactions,
        0.80,
        1.0,
    ),
    (
        "UPDATE; COMMIT",
        Write::Update,
        How::Transactions,
        0.80,
        1.0,
    ),
    (
        "DELETE; COMMIT",
        Write::Delete,
        How::Transactions,
        0.80,
        1.0,
    ),
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
        0.20,
        2.0,
    ),
    (
        "bulk DELETE, by statement",
        Write::Delete,
        How::Bulk,
        0.18,
        2.0,
    ),
];
const WIDE: [(&str, How, f64); 3] = [
    ("UPDATE of one row, 1 of 80 columns", How::Single, 0.60),
    ("UPDATE; COMMIT, 1 of 80 columns", How::Transactions, 0.75),
    ("bulk UPDATE, 1 of 80 columns", How::Bulk, 0.35),
];

/// What a table with a mask or an exclusion may cost, as a multiple of the same table without.
const REDACTED: f64 = 1.15;

/// How long a TPC-B transaction may take, as a multiple of the plain trigger's and of the typed history's: so that 1.35 times as many
/// are done in a second as with the former, and 0.95 times as many as with the latter.
const TPCB: (f64, f64) = (1.0 / 1.35, 1.0 / 0.95);

/// The better granularity for a kind of work, the typed history of the same granularity, and the plain trigger.
fn compared<'a>(costs: &'a [Cost], shape: &Shape, write: Write, how: How) -> Option<[&'a Cost; 3]> {
    let of = |subject| Cost::find(costs, &shape.name, subject, write, how);
    let row = [of(Subject::Row)?, of(Subject::TypedRow)?];
    let statement = [of(Subject::Statement)?, of(Subject::TypedStatement)?];
    let row_is_better = how != How::Bulk && row[0].overhead_us < statement[0].overhead_us;
    let [ours, typed] = if row_is_better { row } else { statement };
    Some([ours, typed, of(Subject::Plain)?])
}

/// The time of a transaction is to another one's what the transactions a second are the other way round. The better granularity counts.
fn tpcb(tpcb: &Tpcb) -> Vec<Target> {
    let mut targets = Vec::new();
    for rates in tpcb.comparable() {
        let best = |subjects: &[Subject]| {
            let ours = rates.iter().filter(|r| subjects.contains(&r.subject));
            ours.map(|rate| rate.tps).fold(0.0, f64::max)
        };
        let ours = best(&Subject::THREADLINE);
        let plain = best(&[Subject::Plain]);
        let typed = best(&Subject::TYPED);
        let what = format!(
            "time of a TPC-B transaction, clients {}, synchronous_commit {}",
            rates[0].clients, rates[0].synchronous_commit
        );
        targets.extend([
            Target::new(&what, "× plain trigger", plain / ours, TPCB.0),
            Target::new(&what, "× typed history", typed / ours, TPCB.1),
        ]);
    }
    targets
}

/// Of what was measured, by the part that measured it: rows, redaction, wide rows, TPC-B, growth, and reads.
pub(crate) fn targets(report: &Report) -> Vec<(&'static str, Vec<Target>)> {
    let reads = |targets: Option<&Vec<Target>>| targets.cloned().unwrap_or_default();
    let mut parts = vec![
        (
            "rows",
            [rows(&report.rows), redaction(&report.rows)].concat(),
        ),
        ("shapes", wide(&report.shapes)),
        ("tpcb", report.tpcb.iter().flat_map(tpcb).collect()),
        ("growth", growth(report)),
        (
            "timeline",
            reads(report.timeline.as_ref().map(|r| &r.targets)),
        ),
        (
            "time-travel",
            reads(report.time_travel.as_ref().map(|r| &r.targets)),
        ),
    ];
    parts.retain(|(_, targets)| !targets.is_empty());
    for (_, targets) in &mut parts {
        Target::keep_worst(targets);
    }
    parts
}

fn rows(costs: &[Cost]) -> Vec<Target> {
    let mut targets = Vec::new();
    for (what, write, how, plain_at_most, typed_at_most) in USUAL {
        if let Some([ours, typed, plain]) = compared(costs, &Shape::usual(), write, how) {
            let times = |other: &Cost| ours.overhead_us / other.overhead_us;
            let wal = ours.wal_bytes / plain.wal_bytes;
            targets.extend([
                Target::new(what, "× plain trigger", times(plain), plain_at_most),
                Target::new(what, "× typed history", times(typed), typed_at_most),
                Target::new(what, "× plain trigger's WAL", wal, 1.0),
            ]);
        }
    }
    targets
}

fn redaction(costs: &[Cost]) -> Vec<Target> {
    let mut targets = Vec::new();
    for (what, write, how, ..) in USUAL {
        let of = |subject| {
            Cost::find(costs, &Shape::usual().name, subject, write, how).map(|c| c.overhead_us)
        };
        for (subject, redaction) in [(Subject::Masked, "masked"), (Subject::Excluded, "excluded")] {
            if let (Some(redacted), Some(row)) = (of(subject), of(Subject::Row)) {
                let what = what.trim_end_matches(", by statement");
                let what = format!("{what}, by row, one column {redaction}");
                targets.push(Target::new(&what, "× without", redacted / row, REDACTED));
            }
        }
    }
    targets
}

fn wide(costs: &[Cost]) -> Vec<Target> {
    let of = |(what, how, at_most)| {
        let [ours, _, plain] = compared(costs, &Shape::of(80, false), Write::Update, how)?;
        let times = ours.overhead_us / plain.overhead_us;
        Some(Target::new(what, "× plain trigger", times, at_most))
    };
    WIDE.into_iter().filter_map(of).collect()
}

fn growth(report: &Report) -> Vec<Target> {
    let of = |cost: &Cost| {
        let what = format!("any row, {} changes in the log", cost.setting);
        Some(Target::new(
            what,
            "× none",
            report.times_empty(cost)?,
            GROWS,
        ))
    };
    report.growth.iter().filter_map(of).collect()
}
