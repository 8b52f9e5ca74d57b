use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use threadline_benches::Result;
use threadline_test_support::Database;

use super::pgbench::{self, Load};
use crate::subject::{Subject, Table};

const TABLES: [Table; 4] = [
    Table {
        name: "pgbench_accounts",
        key: "aid",
    },
    Table {
        name: "pgbench_branches",
        key: "bid",
    },
    Table {
        name: "pgbench_history",
        key: "",
    },
    Table {
        name: "pgbench_tellers",
        key: "tid",
    },
];

/// A database with the tables of pgbench.
pub(super) struct Contestant {
    pub(super) subject: Subject,
    database: Database,
    script: String,
    /// How many transactions pgbench has run.
    transactions: i64,
}

impl Contestant {
    pub(super) fn new(subject: Subject, database: Database, scale: u32) -> Result<Self> {
        pgbench::initialise(&database, scale)?;
        database.connect().batch_execute(&subject.set_up(&TABLES))?;
        Ok(Self {
            subject,
            database,
            script: include_str!("script.sql").replace("{context}", context(subject)),
            transactions: 0,
        })
    }

    /// Transactions a second. Each run begins with nothing left to write of those before it.
    pub(super) fn run(&mut self, synchronous_commit: &str, load: Load) -> Result<f64> {
        self.database.connect().batch_execute("CHECKPOINT")?;
        let options = format!("-c synchronous_commit={synchronous_commit}");
        let outcome = pgbench::run(&self.database, &options, load, &self.script)?;
        self.transactions += outcome.transactions;
        Ok(outcome.tps)
    }

    /// Each transaction updates three rows and inserts one, and all of them are recorded. One in ten thousand moves an amount of
    /// zero, and updates that change nothing leave no trace.
    pub(super) fn verify(&self) -> Result<()> {
        let conn = &mut self.database.connect();
        let mut count = |what: &str| -> QueryResult<i64> {
            diesel::select(sql::<BigInt>(&format!("(SELECT {what})"))).get_result(conn)
        };
        let transactions = count("count(*) FROM pgbench_history")?;
        let changes = count("count(*) + 3 * count(nullif(delta, 0)) FROM pgbench_history")?;
        let recorded = match self.subject {
            Subject::Nobody => changes,
            Subject::Plain => count("count(*) FROM audit.changes")?,
            Subject::TypedRow | Subject::TypedStatement => {
                let mut sum = 0;
                for table in TABLES {
                    sum += count(&format!("count(*) FROM history.{}", table.name))?;
                }
                sum
            }
            _ => count("count(*) FROM threadline.audit_changes")?,
        };
        if transactions == self.transactions && recorded == changes {
            return Ok(());
        }
        Err(format!(
            "{}: pgbench ran {} transactions. The tables have {transactions} with {changes} changes, of which {recorded} are recorded",
            self.subject.name(),
            self.transactions
        )
        .into())
    }
}

/// Who acts, in one statement: each is a round trip of pgbench, and where programs send the context, it goes with `BEGIN`.
fn context(subject: Subject) -> &'static str {
    match subject {
        Subject::Nobody => "",
        Subject::Plain => r#"SET LOCAL app.actor = '{"type":"user","id":"018f4e0e"}';"#,
        Subject::TypedRow | Subject::TypedStatement => {
            r#"SELECT set_config('history.context_id', gen_random_uuid()::text, true),
                      set_config('history.context_metadata', '{"user":"018f4e0e"}', true);"#
        }
        Subject::Row | Subject::Statement | Subject::Masked | Subject::Excluded => {
            r#"SET LOCAL threadline.actor_ref = '{"type":"user","id":"018f4e0e"}';"#
        }
    }
}
