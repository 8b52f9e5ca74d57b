use serde::Serialize;
use threadline_test_support::Database;

use crate::meter::Meter;
use crate::rows::{self, Amount, WORK};
use crate::shape::{How, Shape, Write};
use crate::subject::Subject;
use threadline_benches::Result;

/// What a row costs without some of the record's indexes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Without {
    pub(crate) indexes: &'static str,
    pub(crate) write: Write,
    pub(crate) how: How,
    /// Less CPU time than with all of them, in microseconds.
    pub(crate) saved_us: f64,
}

/// Those of `audit_changes`. The primary key stays: transactions are found by it, and the past.
const INDEXES: [(&str, &str); 5] = [
    ("none", ""),
    ("by table and time", "audit_changes_table_id_idx"),
    ("by the key of the row", "audit_changes_key_bigint_idx"),
    (
        "by keys of the three other types",
        "audit_changes_key_integer_idx, threadline.audit_changes_key_uuid_idx, threadline.audit_changes_key_text_idx",
    ),
    (
        "by contexts of nested transactions",
        "audit_changes_actor_ref_idx, threadline.audit_changes_on_behalf_of_idx, threadline.audit_changes_correlation_id_idx",
    ),
];

pub(crate) fn measure(amount: Amount) -> Result<Vec<Without>> {
    let shape = Shape::usual();
    let (mut databases, mut meters) = (Vec::new(), Vec::new());
    for (_, indexes) in INDEXES {
        let database = Database::new();
        let mut meter = Meter::connect(&database)?;
        meter.spend(&shape.table())?;
        meter.spend(Subject::Statement.set_up())?;
        if !indexes.is_empty() {
            meter.spend(&format!("DROP INDEX threadline.{indexes}"))?;
        }
        databases.push(database);
        meters.push(meter);
    }
    let totals = rows::in_turns("indexes", &mut meters, &shape, amount)?;
    let mut saved = Vec::new();
    for ((indexes, _), without) in INDEXES.iter().zip(&totals).skip(1) {
        let pairs = totals[0].0.iter().zip(&without.0);
        for ((write, how), (with, without)) in WORK.into_iter().zip(pairs) {
            saved.push(Without {
                indexes,
                write,
                how,
                saved_us: with.cpu_us - without.cpu_us,
            });
        }
    }
    Ok(saved)
}
