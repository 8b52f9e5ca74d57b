use std::time::Duration;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use super::pace::{Pace, progress};
use super::progress::{Progress, ProgressUnit};
use super::steps::{RunsSteps, Steps};
use crate::setters::setters;

/// Does the long work that a new version of Threadline brings, such as filling a new column of the audit log.
///
/// A migration only notes such work, for it is one transaction. This does it in batches that are a transaction each, while others read
/// and write. When it was killed, run it again: it goes on. Before that, [`refresh`](crate::refresh()) brings the audited tables
/// up to date, so that new changes need none of the work. `threadline upgrade` does both. [`health`](crate::health) says
/// `upgrade_unfinished` until all of it is done. Version 0.1 brings no such work.
///
/// Only the owner of the audit log and superusers can run it.
///
/// ```sql
/// SELECT step, rows_done, row_estimate, steps_left FROM threadline.upgrade_step($1);      -- again for every batch
/// ```
///
/// # Example
///
/// ```
/// # use threadline_test_support::Database;
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// let report = threadline::upgrade().batch_size(500).run(&mut conn)?;
/// assert!(report.finished);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn upgrade() -> Upgrade<'static> {
    Upgrade {
        pace: Pace::new(1000, Duration::from_millis(20)),
    }
}

/// The long work of an upgrade to run: made by [`upgrade`].
#[derive(Debug)]
#[must_use = "nothing is done until it is run"]
pub struct Upgrade<'a> {
    pace: Pace<'a>,
}

/// What a run of an upgrade did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradeReport {
    /// The work that this run worked on, by its names in `threadline_internal.upgrade_steps`.
    pub steps: Vec<String>,
    /// Whether nothing is left to do.
    pub finished: bool,
}

impl<'a> Upgrade<'a> {
    setters! { pace:
        /// How many rows of the audit log a transaction goes past, 1,000 by default. At least one.
        fn batch_size(rows: u32);

        /// How long to let others work between two transactions, 20 ms by default.
        fn pause(pause: Duration);

        /// At most this many transactions, and at least one. By default, as many as it takes.
        fn max_batches(batches: u64);
    }

    progress!(Upgrade);

    /// Does it. On a [`PgConnection`] it returns a result, on an `AsyncPgConnection` the future of one; a pooled connection
    /// is passed as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) if a transaction is open. [`Error::Database`](crate::Error::Database) if a batch fails,
    /// as it does for anybody but the owner of the audit log. Earlier batches stay done.
    ///
    /// # Cancel safety
    ///
    /// Each batch is done, or not at all.
    pub fn run<'c, C: RunsSteps>(self, conn: &'c mut C) -> C::Outcome<'c, UpgradeReport>
    where
        'a: 'c,
    {
        conn.run_steps(UpgradeSteps {
            upgrade: self,
            report: UpgradeReport::default(),
        })
    }
}

struct UpgradeSteps<'a> {
    upgrade: Upgrade<'a>,
    report: UpgradeReport,
}

/// What a batch was of, and how far that has come.
#[derive(QueryableByName)]
struct Batch {
    #[diesel(sql_type = Nullable<Text>)]
    step: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    rows_done: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    row_estimate: Option<i64>,
    #[diesel(sql_type = BigInt)]
    steps_left: i64,
}

impl Steps for UpgradeSteps<'_> {
    const NAME: &'static str = "upgrade";
    type Row = Batch;
    type Outcome = UpgradeReport;

    fn next(&self) -> BoxedSqlQuery<'static, Pg, SqlQuery> {
        diesel::sql_query(
            "SELECT step, rows_done, row_estimate, steps_left FROM threadline.upgrade_step($1)",
        )
        .into_boxed()
        .bind::<Integer, _>(self.upgrade.pace.rows())
    }

    fn took(&mut self, row: Batch) -> Option<Duration> {
        self.report.finished = row.steps_left == 0;
        let step = row.step?;
        if self.report.steps.last() != Some(&step) {
            self.report.steps.push(step);
        }
        let done = row.rows_done.unwrap_or_default();
        let progress = Progress {
            done: done.unsigned_abs(),
            unit: ProgressUnit::Rows,
            total: Some(
                row.row_estimate
                    .unwrap_or_default()
                    .max(done)
                    .unsigned_abs(),
            ),
        };
        self.upgrade
            .pace
            .after_batch(progress, self.report.finished)
    }

    fn outcome(self) -> UpgradeReport {
        self.report
    }
}
