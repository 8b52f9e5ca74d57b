use serde::Serialize;
use threadline_test_support::Database;

use crate::meter::Meter;
use crate::rows::{self, Amount, PerRow, WORK};
use crate::shape::{How, Shape, Write};
use crate::subject::Subject;
use crate::support::Result;

/// What the audit of a row costs when there are so many changes in the record, in microseconds of CPU time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Growth {
    pub(crate) changes: u32,
    pub(crate) subject: Subject,
    pub(crate) write: Write,
    pub(crate) how: How,
    pub(crate) overhead_us: f64,
    /// Of the server process, its own memory when all is written.
    pub(crate) memory_kb: u64,
}

/// Beside an unaudited table in a database of its own, at the same time.
pub(crate) fn measure(database: &Database, changes: u32, amount: Amount) -> Result<Vec<Growth>> {
    let shape = Shape::usual();
    let bare_database = Database::new();
    let mut bare_meter = Meter::connect(&bare_database)?;
    bare_meter.spend(&shape.table())?;
    Meter::connect(database)?.spend(&shape.table())?;
    let mut growths = Vec::new();
    for subject in [Subject::Row, Subject::Statement] {
        let mut meter = Meter::connect(database)?;
        meter.spend(subject.set_up())?;
        let (mut bare, mut audited) = (rows::Totals::default(), rows::Totals::default());
        for round in 0..amount.rounds {
            eprintln!(
                "{changes} changes: {}, round {} of {}",
                subject.name(),
                round + 1,
                amount.rounds
            );
            let first = i64::from(round) * 10_000_000;
            bare.add(rows::round_of(&mut bare_meter, &shape, amount, first)?);
            audited.add(rows::round_of(&mut meter, &shape, amount, first)?);
        }
        let memory_kb = meter.memory_kb()?;
        let pairs = audited.0.iter().zip(&bare.0);
        for ((write, how), (PerRow { cpu_us, .. }, bare)) in WORK.into_iter().zip(pairs) {
            growths.push(Growth {
                changes,
                subject,
                write,
                how,
                overhead_us: cpu_us - bare.cpu_us,
                memory_kb,
            });
        }
    }
    Ok(growths)
}
