use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{BigInt, Bool, Integer, Text, Timestamptz, Uuid};

use super::pace::{Pace, progress};
use super::progress::{Progress, ProgressUnit};
use super::steps::{RunsSteps, Steps};
use crate::context::{ActorRef, Attribution};
use crate::setters::setters;

/// Records the rows that a table had before its capture began, as [`Op::Snapshot`](crate::Op). Rows
/// that have changed since capture began are skipped.
///
/// Write the name of the table as in SQL: `users`, `blog.posts`, `"Odd Name"`. The baseline reads
/// the table in the order of its primary key, in batches of one transaction each. It blocks no
/// writer and locks no row. If a baseline was stopped, run it again to resume it; once it has
/// finished, it records nothing more. The whole baseline is one [action](crate::actions),
/// `threadline.baseline`.
///
/// A snapshot shows the row as of the start of capture, or as of the time up to which a purge has
/// removed changes, no matter when the snapshot is written. It is the first entry in the history of
/// the row. The results of as-of queries stay the same.
///
/// Only the owner of the audit log and superusers can run a baseline.
///
/// ```sql
/// SELECT as_of, passed, … FROM threadline.baseline_step($1, $2, $3, $4);      -- again for every batch
/// ```
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::prelude::*;
/// use threadline::Op;
///
/// # diesel::table! { users { id -> Integer, name -> Text } }
/// # #[derive(Queryable, Selectable, Audited)]
/// # struct User { id: i32, name: String }
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
/// diesel::insert_into(users::table).values((users::id.eq(7), users::name.eq("Ada"))).execute(&mut conn)?;
/// threadline::capture::install(&mut conn, &[User::audit_spec()])?;
///
/// let done = threadline::baseline("users")
///     .actor(ActorRef::user("ops"))
///     .reason("Audit of 2026 asks for all rows")
///     .progress(|progress| println!("{progress}"))                        // 1 of about 1 rows
///     .run(&mut conn)?;
/// assert!(done.finished);
/// assert_eq!(done.recorded, 1);
///
/// let versions: Vec<Version<User>> = User::history(7).load(&mut conn)?;
/// assert_eq!((versions[0].op, versions[0].row.name.as_str()), (Op::Snapshot, "Ada"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn baseline(table: impl Into<String>) -> Baseline<'static> {
    Baseline {
        table: table.into(),
        attribution: Attribution::default(),
        pace: Pace::new(1000, Duration::ZERO),
    }
}

/// A baseline to run. Created by [`baseline`].
#[derive(Debug)]
#[must_use = "nothing is recorded until it is run"]
pub struct Baseline<'a> {
    table: String,
    attribution: Attribution,
    pace: Pace<'a>,
}

/// The outcome of a baseline run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaselineReport {
    /// The time that the snapshots describe: the start of capture, or the time up to which older
    /// changes were removed from the audit log.
    pub as_of: DateTime<Utc>,
    /// The number of rows that this run read.
    pub passed: u64,
    /// The number of snapshots that this run recorded.
    pub recorded: u64,
    /// Whether this run or an earlier one reached the end of the table.
    pub finished: bool,
    /// The [action](crate::action) that records the baseline.
    pub action_id: uuid::Uuid,
}

impl<'a> Baseline<'a> {
    setters! { attribution:
        /// Sets the actor of the action and of the transactions.
        fn actor(actor: ActorRef);

        /// Sets the reason.
        fn reason(reason: impl Into<String>);
    }

    setters! { pace:
        /// Sets how many rows a transaction reads: 1,000 by default, and at least one.
        fn batch_size(rows: u32);

        /// Sets the pause between two transactions, which leaves more of the server to others. No
        /// pause by default.
        fn pause(pause: Duration);

        /// Limits the run to this number of transactions, at least one. No limit by default.
        fn max_batches(batches: u64);
    }

    progress!(Baseline);

    /// Runs the baseline. On a [`PgConnection`] this returns a result, on an `AsyncPgConnection` a
    /// future of one. Pass a pooled connection as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::MissingActor`](crate::Error) without an actor, and
    /// [`Error::ReasonRequired`](crate::Error) without a reason.
    ///
    /// [`Error::Refused`](crate::Error) if the table is not audited, its primary key is missing or
    /// deferrable, its columns have changed since its capture was defined, its triggers are
    /// missing, other tables inherit from it, row-level security hides rows from the caller, or a
    /// transaction is open.
    ///
    /// [`Error::Database`](crate::Error) if the table does not exist, or the caller does not own
    /// the audit log.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the completed batches stay recorded. At most one more batch, which
    /// was in flight, may follow.
    pub fn run<'c, C: RunsSteps>(self, conn: &'c mut C) -> C::Outcome<'c, BaselineReport>
    where
        'a: 'c,
    {
        conn.run_steps(BaselineSteps {
            baseline: self,
            done: None,
        })
    }
}

struct BaselineSteps<'a> {
    baseline: Baseline<'a>,
    done: Option<BaselineReport>,
}

/// The outcome of a batch, and the totals so far.
#[derive(QueryableByName)]
struct Batch {
    #[diesel(sql_type = Timestamptz)]
    as_of: DateTime<Utc>,
    #[diesel(sql_type = BigInt)]
    passed: i64,
    #[diesel(sql_type = BigInt)]
    recorded: i64,
    #[diesel(sql_type = BigInt)]
    total_passed: i64,
    #[diesel(sql_type = BigInt)]
    row_estimate: i64,
    #[diesel(sql_type = Bool)]
    finished: bool,
    #[diesel(sql_type = Uuid)]
    action_id: uuid::Uuid,
}

impl Steps for BaselineSteps<'_> {
    const NAME: &'static str = "baseline";
    type Row = Batch;
    type Outcome = BaselineReport;

    fn next(&self) -> BoxedSqlQuery<'static, Pg, SqlQuery> {
        let query = diesel::sql_query(
            "SELECT as_of, passed, recorded, total_passed, row_estimate, finished, action_id \
             FROM threadline.baseline_step($1::pg_catalog.regclass, $2, $3, $4)",
        );
        let Baseline {
            table,
            attribution,
            pace,
        } = &self.baseline;
        attribution
            .bind(query.into_boxed().bind::<Text, _>(table.clone()))
            .bind::<Integer, _>(pace.rows())
    }

    fn took(&mut self, row: Batch) -> Option<Duration> {
        let count = |rows: i64| u64::try_from(rows).unwrap_or_default();
        let before = self
            .done
            .map_or((0, 0), |done| (done.passed, done.recorded));
        self.done = Some(BaselineReport {
            as_of: row.as_of,
            passed: before.0 + count(row.passed),
            recorded: before.1 + count(row.recorded),
            finished: row.finished,
            action_id: row.action_id,
        });
        let done = count(row.total_passed);
        let progress = Progress {
            done,
            unit: ProgressUnit::Rows,
            total: Some(done.max(count(row.row_estimate))),
        };
        self.baseline.pace.after_batch(progress, row.finished)
    }

    fn outcome(self) -> BaselineReport {
        self.done
            .expect("there is no outcome before the first step")
    }
}
