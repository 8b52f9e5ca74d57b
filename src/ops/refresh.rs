use std::time::Duration;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use super::pace::{Pace, progress};
use super::progress::{Progress, ProgressUnit};
use super::steps::{RunsSteps, Steps};
use crate::finding::Finding;

/// Updates the capture of audited tables to their present columns and to the installed version of
/// Threadline.
///
/// Run it after the migrations of a new version, in a deployment or by hand. The migrations leave
/// the generated code of each table unchanged, and that code works with the new version as well.
/// Each table is refreshed in a transaction of its own, so that writes to one table do not wait for
/// another table. If a table is in use, the refresh retries for the duration of `lock_timeout`, or
/// for 10 seconds. A table that cannot be refreshed keeps its present capture and is reported; the
/// other tables are still refreshed. If nothing has changed, the refresh locks no table.
///
/// Only the owner of the audit log and superusers can run it.
///
/// ```sql
/// SELECT table_id, table_name, refusal, … FROM threadline.refresh_step($1, $2);      -- again for every table
/// ```
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY)").execute(&mut conn)?;
/// # diesel::sql_query("SELECT threadline.audit_table('users')").execute(&mut conn)?;
/// diesel::sql_query("ALTER TABLE users ADD COLUMN name text").execute(&mut conn)?;
/// let report = threadline::refresh().progress(|progress| println!("{progress}")).run(&mut conn)?;
/// assert_eq!(report.refreshed, ["public.users"]);                            // 1 of about 1 tables
/// assert!(report.failed.is_empty());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn refresh() -> Refresh<'static> {
    Refresh {
        table: None,
        pace: Pace::new(1, Duration::ZERO),
    }
}

/// A refresh to run. Created by [`refresh`].
#[derive(Debug)]
#[must_use = "nothing is refreshed until it is run"]
pub struct Refresh<'a> {
    table: Option<String>,
    pace: Pace<'a>,
}

/// The outcome of a refresh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshReport {
    /// The tables that are now up to date, as `schema.table`, whether or not they needed a change.
    pub refreshed: Vec<String>,
    /// The tables that could not be refreshed, and the reasons. Their capture continues unchanged.
    pub failed: Vec<Finding>,
}

impl Refresh<'_> {
    /// Refreshes only this table, written as in SQL: `users`, `blog.posts`, `"Odd Name"`.
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }
}

impl<'a> Refresh<'a> {
    progress!(Refresh);

    /// Runs the refresh. On a [`PgConnection`] this returns a result, on an `AsyncPgConnection` a
    /// future of one. Pass a pooled connection as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) if the named table is not audited, or a
    /// transaction is open. [`Error::Database`](crate::Error::Database) if the table does not
    /// exist, or the caller does not own the audit log. A table that cannot be refreshed is not an
    /// error; the report lists it.
    ///
    /// # Cancel safety
    ///
    /// Each table is refreshed completely or not at all.
    pub fn run<'c, C: RunsSteps>(self, conn: &'c mut C) -> C::Outcome<'c, RefreshReport>
    where
        'a: 'c,
    {
        conn.run_steps(RefreshSteps {
            refresh: self,
            after_id: 0,
            report: RefreshReport::default(),
        })
    }
}

struct RefreshSteps<'a> {
    refresh: Refresh<'a>,
    after_id: i32,
    report: RefreshReport,
}

/// The table that a step refreshed; `None` if no table was left.
#[derive(QueryableByName)]
struct Refreshed {
    #[diesel(sql_type = Nullable<Integer>)]
    table_id: Option<i32>,
    #[diesel(sql_type = Nullable<Text>)]
    table_name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    refusal: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    hint: Option<String>,
    #[diesel(sql_type = BigInt)]
    tables_done: i64,
    #[diesel(sql_type = BigInt)]
    tables: i64,
}

impl Steps for RefreshSteps<'_> {
    const NAME: &'static str = "refresh";
    type Row = Refreshed;
    type Outcome = RefreshReport;

    fn next(&self) -> BoxedSqlQuery<'static, Pg, SqlQuery> {
        diesel::sql_query(
            "SELECT table_id, table_name, refusal, hint, tables_done, tables \
             FROM threadline.refresh_step($1, $2::pg_catalog.regclass)",
        )
        .into_boxed()
        .bind::<Integer, _>(self.after_id)
        .bind::<Nullable<Text>, _>(self.refresh.table.clone())
    }

    fn took(&mut self, row: Refreshed) -> Option<Duration> {
        self.after_id = row.table_id?;
        let table = row.table_name.unwrap_or_default();
        match row.refusal {
            Some(refusal) => {
                let hint = row.hint.unwrap_or_default();
                self.report.failed.push(Finding::new(&table, refusal, hint));
            }
            None => self.report.refreshed.push(table),
        }
        let progress = Progress {
            done: row.tables_done.unsigned_abs(),
            unit: ProgressUnit::Tables,
            total: Some(row.tables.max(row.tables_done).unsigned_abs()),
        };
        self.refresh.pace.after_batch(progress, false)
    }

    fn outcome(self) -> RefreshReport {
        self.report
    }
}
