use serde::Serialize;
use threadline_test_support::Database;

use crate::meter::Meter;
use crate::rows::{self, Amount, WORK};
use crate::shape::{How, Shape, Write};
use crate::subject::Subject;
use threadline_benches::Result;

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
    for database in [&bare_database, database] {
        Meter::connect(database)?.spend(&shape.table())?;
    }
    let mut growths = Vec::new();
    for subject in [Subject::Row, Subject::Statement] {
        let mut meters = [Meter::connect(&bare_database)?, Meter::connect(database)?];
        meters[1].spend(subject.set_up())?;
        let what = format!("{changes} changes: {}", subject.name());
        let totals = rows::in_turns(&what, &mut meters, &shape, amount)?;
        let memory_kb = meters[1].memory_kb()?;
        let pairs = totals[0].0.iter().zip(&totals[1].0);
        for ((write, how), (bare, audited)) in WORK.into_iter().zip(pairs) {
            growths.push(Growth {
                changes,
                subject,
                write,
                how,
                overhead_us: audited.cpu_us - bare.cpu_us,
                memory_kb,
            });
        }
    }
    Ok(growths)
}
