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

/// Records the rows that a table had before its capture began, as [`Op::Snapshot`](crate::Op): those without a change since.
///
/// The table is named as in SQL: `users`, `blog.posts`, `"Odd Name"`. The baseline reads it in the order of its primary key,
/// in batches that are a transaction each. No writer waits, and no row is locked. A baseline that was stopped goes on where it
/// was when you run it again; one that has finished records nothing more. All of it is one [action](crate::actions),
/// `threadline.baseline`.
///
/// A snapshot says what the row was when capture began, or at the time before which a purge removed changes, whenever it is
/// written. It begins the history of the row. What is read as of the past stays the same.
///
/// Only the owner of the audit log and superusers can run it.
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

/// A baseline to run: made by [`baseline`].
#[derive(Debug)]
#[must_use = "nothing is recorded until it is run"]
pub struct Baseline<'a> {
    table: String,
    attribution: Attribution,
    pace: Pace<'a>,
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
    /// The [action](crate::action) that records it.
    pub action_id: uuid::Uuid,
}

impl<'a> Baseline<'a> {
    setters! { attribution:
        /// Who does it: the actor of the action and of the transactions.
        fn actor(actor: ActorRef);

        /// Why.
        fn reason(reason: impl Into<String>);
    }

    setters! { pace:
        /// How many rows a transaction reads, 1,000 by default. At least one.
        fn batch_size(rows: u32);

        /// How long to wait between two transactions, so that others get more of the server. No time by default.
        fn pause(pause: Duration);

        /// At most this many transactions, and at least one. By default, as many as it takes.
        fn max_batches(batches: u64);
    }

    progress!(Baseline);

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
            done: None,
        })
    }
}

struct BaselineSteps<'a> {
    baseline: Baseline<'a>,
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
