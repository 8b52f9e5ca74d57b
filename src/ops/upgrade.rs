use std::time::Duration;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use super::pace::{Pace, progress};
use super::progress::{Progress, ProgressUnit};
use super::steps::{RunsSteps, Steps};
use crate::setters::setters;

/// Runs the long-running work that a new version of Threadline needs, such as filling a new column
/// of the audit log.
///
/// A migration is a single transaction, so it only registers such work. This function does the work
/// in batches of one transaction each, while others read and write. If it was killed, run it again
/// to resume it. Run [`refresh`](crate::refresh()) first: it updates the audited tables, so that
/// new changes need none of the work. `threadline upgrade` does both. Until all work is done,
/// [`health`](crate::health) reports `upgrade_unfinished`. Version 0.1 has no such work.
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

/// The long-running work of an upgrade, to run. Created by [`upgrade`].
#[derive(Debug)]
#[must_use = "nothing is done until it is run"]
pub struct Upgrade<'a> {
    pace: Pace<'a>,
}

/// The outcome of an upgrade run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradeReport {
    /// The steps that this run worked on, by their names in `threadline_internal.upgrade_steps`.
    pub steps: Vec<String>,
    /// Whether nothing is left to do.
    pub finished: bool,
}

impl<'a> Upgrade<'a> {
    setters! { pace:
        /// Sets how many rows of the audit log a transaction processes: 1,000 by default, and at
        /// least one.
        fn batch_size(rows: u32);

        /// Sets the pause between two transactions, in which others can work; 20 ms by default.
        fn pause(pause: Duration);

        /// Limits the run to this number of transactions, at least one. No limit by default.
        fn max_batches(batches: u64);
    }

    progress!(Upgrade);

    /// Runs the upgrade. On a [`PgConnection`] this returns a result, on an `AsyncPgConnection` a
    /// future of one. Pass a pooled connection as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) if a transaction is open.
    /// [`Error::Database`](crate::Error::Database) if a batch fails, which is always the case
    /// unless the caller is the owner of the audit log. Earlier batches stay done.
    ///
    /// # Cancel safety
    ///
    /// Each batch is done completely or not at all.
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

/// The step that a batch belongs to, and the progress of that step.
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
