use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz, Uuid};

use super::steps::{RunsSteps, Steps};
use crate::context::ActorRef;

/// Records the rows that a table had before its capture began, as [`Op::Snapshot`](crate::Op): those without a change since.
///
/// The table is named as in SQL: `users`, `blog.posts`, `"Odd Name"`. It is gone through in the order of its primary key, in
/// batches that are a transaction each. No writer waits, and no row is locked. Whatever ends it, it goes on where it was when it is run once more;
/// run after it finished, it records nothing. All of it is one [action](crate::actions), `threadline.baseline`.
///
/// A snapshot is what the row was when capture began (or at the horizon of what was removed from the audit log since), whenever
/// it is written. It is the beginning of the row's history, and changes nothing that is read as of the past.
///
/// Whoever runs it owns the audit log, or is a superuser.
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
///     .progress(|done| println!("{} of about {} rows", done.passed, done.row_estimate))
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
        actor: None,
        reason: None,
        batch_size: 1000,
        pause: Duration::ZERO,
        max_batches: None,
        progress: None,
    }
}

/// A baseline that is to be: made by [`baseline`].
#[must_use = "nothing is recorded until it is run"]
pub struct Baseline<'a> {
    table: String,
    actor: Option<ActorRef>,
    reason: Option<String>,
    batch_size: i32,
    pause: Duration,
    max_batches: Option<u64>,
    progress: Option<Box<dyn FnMut(BaselineProgress) + Send + 'a>>,
}

impl fmt::Debug for Baseline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baseline")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// How far a baseline has come, what earlier runs did included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaselineProgress {
    /// Rows that were gone past.
    pub passed: u64,
    /// Rows for which a snapshot was recorded: those that had no change.
    pub recorded: u64,
    /// About how many rows the table has.
    pub row_estimate: u64,
}

/// What a run of a baseline did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaselineReport {
    /// The moment that the snapshots are of: when capture began, or up to when older changes were removed from the audit log.
    pub as_of: DateTime<Utc>,
    /// Rows that this run went past.
    pub passed: u64,
    /// Snapshots that this run recorded.
    pub recorded: u64,
    /// Whether the end of the table was reached, by this run or by one before.
    pub finished: bool,
    /// The [action](crate::action) that tells it.
    pub action_id: uuid::Uuid,
}

impl<'a> Baseline<'a> {
    /// Who does it: of the action, and of the transactions.
    pub fn actor(self, actor: ActorRef) -> Self {
        Self {
            actor: Some(actor),
            ..self
        }
    }

    /// Why.
    pub fn reason(self, reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..self
        }
    }

    /// How many rows a transaction goes past; 1,000 unless told otherwise. At least one.
    pub fn batch_size(self, rows: u32) -> Self {
        Self {
            batch_size: i32::try_from(rows).unwrap_or(i32::MAX),
            ..self
        }
    }

    /// How long to wait between two transactions, so that others get more of the server; not at all unless told otherwise.
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// No more transactions than this, and at least one; as many as it takes unless told otherwise.
    pub fn max_batches(self, batches: u64) -> Self {
        Self {
            max_batches: Some(batches),
            ..self
        }
    }

    /// Calls a function after each transaction.
    pub fn progress<'b>(self, report: impl FnMut(BaselineProgress) + Send + 'b) -> Baseline<'b>
    where
        'a: 'b,
    {
        Baseline {
            progress: Some(Box::new(report)),
            ..self
        }
    }

    /// Does it. On a [`PgConnection`] it returns a result, on an `AsyncPgConnection` the future of one; a pooled connection
    /// is passed as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::MissingActor`](crate::Error) and [`Error::ReasonRequired`](crate::Error) unless both are named. [`Error::Refused`](crate::Error) if the table is
    /// not audited, has no primary key or a deferrable one, its columns have changed since its capture was defined, its
    /// triggers are missing, other tables inherit from it, row level security hides rows from the caller, or a transaction is open.
    /// [`Error::Database`](crate::Error) if there is no such table, or the caller does not own the audit log.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped has recorded whole batches, and one more at most that is in flight.
    pub fn run<'c, C: RunsSteps>(self, conn: &'c mut C) -> C::Outcome<'c, BaselineReport>
    where
        'a: 'c,
    {
        conn.run_steps(BaselineSteps {
            baseline: self,
            batches: 0,
            done: None,
        })
    }
}

struct BaselineSteps<'a> {
    baseline: Baseline<'a>,
    batches: u64,
    done: Option<BaselineReport>,
}

/// What a batch did, and all of them up to it.
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
    total_recorded: i64,
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
        let Baseline {
            table,
            actor,
            reason,
            batch_size,
            ..
        } = &self.baseline;
        diesel::sql_query(
            "SELECT as_of, passed, recorded, total_passed, total_recorded, row_estimate, finished, action_id \
             FROM threadline.baseline_step($1::pg_catalog.regclass, $2, $3, $4)",
        )
        .into_boxed()
        .bind::<Text, _>(table.clone())
        .bind::<Nullable<Jsonb>, _>(actor.clone())
        .bind::<Nullable<Text>, _>(reason.clone())
        .bind::<Integer, _>(*batch_size)
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
        self.batches += 1;
        if let Some(report) = &mut self.baseline.progress {
            report(BaselineProgress {
                passed: count(row.total_passed),
                recorded: count(row.total_recorded),
                row_estimate: count(row.row_estimate),
            });
        }
        let last = self
            .baseline
            .max_batches
            .is_some_and(|max| self.batches >= max);
        (!row.finished && !last).then_some(self.baseline.pause)
    }

    fn outcome(self) -> BaselineReport {
        self.done
            .expect("there is no outcome before the first step")
    }
}
