use std::time::Duration;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use super::pace::{Pace, progress};
use super::progress::{Progress, ProgressUnit};
use super::steps::{RunsSteps, Steps};
use crate::finding::Finding;

/// Brings the capture of audited tables in line with their present columns and the installed version of Threadline.
///
/// Run it after the migrations of a new version, in a deployment or by hand: they leave the generated code of each table as it
/// was, which works with the new version as well. Each table is refreshed in a transaction of its own, so no write of one
/// waits for another. A table in use is tried again for as long as `lock_timeout` says, or 10 seconds. A table that cannot
/// be refreshed keeps its capture as it was, is reported, and does not keep the others from being refreshed. Where nothing has
/// changed it takes no lock on a table.
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

/// A refresh to run: made by [`refresh`].
#[derive(Debug)]
#[must_use = "nothing is refreshed until it is run"]
pub struct Refresh<'a> {
    table: Option<String>,
    pace: Pace<'a>,
}

/// What a refresh did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshReport {
    /// The tables that are up to date now, as `schema.table`, whether something had to be done or not.
    pub refreshed: Vec<String>,
    /// The tables that could not be refreshed, and why. Their capture goes on as it was.
    pub failed: Vec<Finding>,
}

impl Refresh<'_> {
    /// Only this table, named as in SQL: `users`, `blog.posts`, `"Odd Name"`.
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }
}

impl<'a> Refresh<'a> {
    progress!(Refresh);

    /// Does it. On a [`PgConnection`] it returns a result, on an `AsyncPgConnection` the future of one; a pooled connection
    /// is passed as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`](crate::Error::Refused) if the named table is not audited, or a transaction is open.
    /// [`Error::Database`](crate::Error::Database) if there is no such table, or the caller does not own the audit log. What keeps a
    /// table from being refreshed is no error, but in the report.
    ///
    /// # Cancel safety
    ///
    /// Each table is refreshed, or not at all.
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

/// The table that a step refreshed, if one was left.
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
