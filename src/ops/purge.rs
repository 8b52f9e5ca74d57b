use std::time::Duration;

use diesel::deserialize::QueryableByName;
use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{BigInt, Integer, Jsonb, Nullable, Text};
use serde_json::Value;
use uuid::Uuid;

use super::pace::{Pace, progress};
use super::progress::{Progress, ProgressUnit};
use super::steps::{RunsSteps, Steps};
use crate::context::{ActorRef, Attribution};
use crate::setters::setters;

/// Removes old changes from the audit log, as its retention policies allow: see [the
/// guide](crate::guide::retention).
///
/// If the policies of all tables allow it, the purge drops a whole monthly partition; otherwise it
/// deletes changes in batches. It keeps everything that a legal hold covers. It also deletes
/// transactions that are left without changes and actions. Without a policy, it removes nothing;
/// set one with `SELECT threadline.set_retention('90 days')`.
///
/// Each step is a transaction of its own, so that nobody waits for long. A single action named
/// `threadline.purge` records what all steps removed. You can kill a purge at any time and run it
/// again. If two purges run at the same time, one waits and then fails.
///
/// ```sql
/// SELECT * FROM threadline.purge_step($1, $2, $3, $4);             -- until the step is 'done'
/// ```
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use std::time::Duration;
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// diesel::sql_query("SELECT threadline.set_retention('90 days')").execute(&mut conn)?;
///
/// let purged = threadline::purge()
///     .batch_size(2_000)
///     .pause(Duration::from_millis(100))
///     .progress(|progress| println!("{progress}"))                        // 0 changes
///     .run(&mut conn)?;
/// assert!(purged.finished);
/// assert_eq!(purged.changes, 0);                                      // nothing is that old
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn purge() -> Purge<'static> {
    Purge {
        attribution: Attribution {
            actor: Some(ActorRef::system("threadline")),
            reason: Some("retention policy".to_owned()),
        },
        pace: Pace::new(5_000, Duration::from_millis(50)),
    }
}

/// A purge of the audit log to run. Created by [`purge`].
#[derive(Debug)]
#[must_use = "nothing is removed until it is run"]
pub struct Purge<'a> {
    attribution: Attribution,
    pace: Pace<'a>,
}

impl<'a> Purge<'a> {
    setters! { attribution:
        /// Sets the actor; `system:threadline` by default.
        fn actor(actor: ActorRef);

        /// Sets the reason; `retention policy` by default.
        fn reason(reason: impl Into<String>);
    }

    setters! { pace:
        /// Sets how many changes or transactions a batch deletes: 5,000 by default, and at least 1.
        fn batch_size(rows: u32);

        /// Sets the pause between two batches, in which others can work; 50 ms by default.
        fn pause(pause: Duration);

        /// Stops after this many dropped partitions and batches. The next purge continues.
        fn max_batches(batches: u64);
    }

    progress!(Purge);

    /// Runs the purge. On a [`PgConnection`](diesel::PgConnection) this returns a result, on an
    /// `AsyncPgConnection` a future of one. Pass a pooled connection as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) if a transaction is open, or if another purge is
    /// still running after ten seconds. [`Error::Database`](crate::Error::Database) if a step
    /// fails, which is always the case unless the caller is the owner of the audit log. Earlier
    /// steps stay done, and the action records them.
    ///
    /// # Cancel safety
    ///
    /// Each step is done completely or not at all.
    pub fn run<'c, C: RunsSteps>(self, conn: &'c mut C) -> C::Outcome<'c, PurgeReport>
    where
        'a: 'c,
    {
        conn.run_steps(PurgeSteps::new(self))
    }
}

/// The outcome of a purge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeReport {
    /// The number of removed changes.
    pub changes: u64,
    /// The number of removed transactions, which were left empty.
    pub transactions: u64,
    /// The dropped partitions, without their schema.
    pub dropped: Vec<String>,
    /// Partitions that were in use for too long to be dropped. The next purge tries them again.
    pub postponed: Vec<String>,
    /// The action that records the purge; `None` if nothing was removed.
    pub action_id: Option<Uuid>,
    /// Whether nothing is left to remove, apart from postponed partitions.
    pub finished: bool,
}

struct PurgeSteps<'a> {
    purge: Purge<'a>,
    state: Option<Value>,
    purged: PurgeReport,
}

impl<'a> PurgeSteps<'a> {
    fn new(purge: Purge<'a>) -> Self {
        Self {
            purge,
            state: None,
            purged: PurgeReport::default(),
        }
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Jsonb)]
    state: Value,
    #[diesel(sql_type = Text)]
    step: String,
    #[diesel(sql_type = Nullable<Text>)]
    partition: Option<String>,
    #[diesel(sql_type = BigInt)]
    changes: i64,
    #[diesel(sql_type = BigInt)]
    transactions: i64,
}

impl Steps for PurgeSteps<'_> {
    const NAME: &'static str = "purge";
    type Row = Row;
    type Outcome = PurgeReport;

    fn next(&self) -> BoxedSqlQuery<'static, Pg, SqlQuery> {
        let query = diesel::sql_query(
            "SELECT state, step, partition, changes, transactions FROM threadline.purge_step($1, $2, $3, $4)",
        );
        let query = query
            .into_boxed()
            .bind::<Nullable<Jsonb>, _>(self.state.clone());
        let Purge { attribution, pace } = &self.purge;
        attribution
            .bind(query)
            .bind::<Integer, _>(pace.rows().max(1))
    }

    fn took(&mut self, row: Row) -> Option<Duration> {
        let purged = &mut self.purged;
        purged.changes += row.changes.unsigned_abs();
        purged.transactions += row.transactions.unsigned_abs();
        let id = row.state.get("action_id").and_then(Value::as_str);
        purged.action_id = id.and_then(|id| id.parse().ok());
        match row.step.as_str() {
            "done" => purged.finished = true,
            "dropped" => purged.dropped.extend(row.partition),
            "postponed" => purged.postponed.extend(row.partition),
            _ => {}
        }
        self.state = Some(row.state);
        let progress = Progress {
            done: self.purged.changes,
            unit: ProgressUnit::Changes,
            total: None,
        };
        self.purge.pace.after_batch(progress, self.purged.finished)
    }

    fn outcome(self) -> PurgeReport {
        self.purged
    }
}
