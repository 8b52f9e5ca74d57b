use serde::Serialize;
use threadline_benches::Result;
use threadline_test_support::Database;

use crate::contest::{Amount, Contestant, contest};
use crate::shape::{How, Shape, Write};
use crate::subject::{ITEM, Subject};

/// What a row costs that is written in some way.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    /// The shape of the row, the indexes that are missing, or the number of changes in the audit log.
    pub(crate) setting: String,
    pub(crate) subject: Subject,
    pub(crate) write: Write,
    pub(crate) how: How,
    /// Microseconds of the server process.
    pub(crate) cpu_us: f64,
    /// The same, less what the first contestant takes.
    pub(crate) overhead_us: f64,
    /// Bytes of WAL, less those of the first contestant.
    pub(crate) wal_bytes: f64,
    /// Bytes that the audit log grew by, with its indexes.
    pub(crate) log_bytes: f64,
    /// Memory that only the server process has, when all is written.
    pub(crate) memory_kb: u64,
}

impl Cost {
    pub(crate) fn find<'a>(
        costs: &'a [Self],
        setting: &str,
        subject: Subject,
        write: Write,
        how: How,
    ) -> Option<&'a Self> {
        costs.iter().find(|c| {
            c.setting == setting && c.subject == subject && c.write == write && c.how == how
        })
    }
}

/// Each subject has a database of its own. The first one audits nothing.
pub(crate) fn by_subject(shape: &Shape, amount: Amount) -> Result<Vec<Cost>> {
    let databases = Subject::ALL.map(|_| Database::new());
    let mut contestants = Vec::new();
    for (subject, database) in Subject::ALL.into_iter().zip(&databases) {
        let mut contestant = Contestant::new(&shape.name, subject, database)?;
        contestant.run(&shape.table())?;
        contestant.run(&subject.set_up(&[ITEM]))?;
        contestants.push(contestant);
    }
    contest(&shape.name, &mut contestants, shape, amount)
}

/// Indexes of `audit_changes`. The primary key stays: transactions and the past are found by it.
const INDEXES: [(&str, &str); 4] = [
    ("none", ""),
    ("by table and time", "%_table_id_captured_at_id_idx"),
    ("by the key of the row", "%_key_bigint_idx"),
    ("by keys of other types", "%_left_captured_at_id_idx"),
];

/// An index of every partition; one that is part of another is dropped with it.
fn drop_indexes(pattern: &str) -> String {
    format!(
        "DO $$ DECLARE name regclass; BEGIN
           FOR name IN SELECT DISTINCT coalesce(h.inhparent, i.indexrelid)::regclass FROM pg_index AS i
                         JOIN pg_inherits AS p ON p.inhrelid = i.indrelid AND p.inhparent = 'threadline.audit_changes'::regclass
                         LEFT JOIN pg_inherits AS h ON h.inhrelid = i.indexrelid
                        WHERE (SELECT c.relname FROM pg_class AS c WHERE c.oid = i.indexrelid) LIKE '{pattern}' LOOP
             EXECUTE format('DROP INDEX %s', name);
           END LOOP;
         END $$"
    )
}

/// The overhead is below zero where a row costs less without the indexes.
pub(crate) fn by_indexes(amount: Amount) -> Result<Vec<Cost>> {
    let shape = Shape::usual();
    let subject = Subject::Statement;
    let databases = INDEXES.map(|_| Database::new());
    let mut contestants = Vec::new();
    for ((name, indexes), database) in INDEXES.into_iter().zip(&databases) {
        let mut contestant = Contestant::new(name, subject, database)?;
        contestant.run(&shape.table())?;
        contestant.run(&subject.set_up(&[ITEM]))?;
        if !indexes.is_empty() {
            contestant.run(&drop_indexes(indexes))?;
        }
        contestants.push(contestant);
    }
    let mut costs = contest("indexes", &mut contestants, &shape, amount)?;
    costs.retain(|cost| cost.setting != INDEXES[0].0);
    Ok(costs)
}

/// In a database with so many changes, beside a table without audit in another one.
pub(crate) fn with_changes(database: &Database, changes: u32, amount: Amount) -> Result<Vec<Cost>> {
    let shape = Shape::usual();
    let setting = changes.to_string();
    let bare = Database::new();
    for database in [&bare, database] {
        Contestant::new(&setting, Subject::Nobody, database)?.run(&shape.table())?;
    }
    let mut costs = Vec::new();
    for subject in [Subject::Row, Subject::Statement] {
        let mut contestants = [
            Contestant::new(&setting, Subject::Nobody, &bare)?,
            Contestant::new(&setting, subject, database)?,
        ];
        contestants[1].run(&subject.set_up(&[ITEM]))?;
        let what = format!("{changes} changes, {}", subject.name());
        costs.extend(contest(&what, &mut contestants, &shape, amount)?);
    }
    costs.retain(|cost| cost.subject != Subject::Nobody);
    Ok(costs)
}
