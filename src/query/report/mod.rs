mod continuity;
mod coverage;
mod health;
mod retention_plan;
mod statistics;

use std::fmt;
use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::{QueryResult, RunQueryDsl};

pub use continuity::{BaselineState, ContinuityState, TableContinuity, continuity};
pub use coverage::{CoverageState, TableCoverage, coverage};
pub use health::{HealthProblem, Severity, health};
pub use retention_plan::{RetentionPlan, retention_plan};
pub use statistics::{CaptureActivity, StorageUsage, capture_activity, storage_usage};

/// What the database says of itself, a row of `R` at a time: made by [`coverage`](crate::coverage()),
/// [`health`](crate::health()) and their like.
#[must_use = "a report is only read when it is loaded"]
pub struct Report<R> {
    sql: &'static str,
    row: PhantomData<fn() -> R>,
}

/// A row of a [`Report`].
#[doc(hidden)]
pub trait ReportRow {
    type SqlType;
}

impl<R> Report<R> {
    pub(crate) const fn new(sql: &'static str) -> Self {
        Self {
            sql,
            row: PhantomData,
        }
    }
}

impl<R> Clone for Report<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Report<R> {}

impl<R> fmt::Debug for Report<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Report").field(&self.sql).finish()
    }
}

impl<R: ReportRow> Query for Report<R> {
    type SqlType = R::SqlType;
}

impl<R, Conn> RunQueryDsl<Conn> for Report<R> {}

impl<R> QueryId for Report<R> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<R> QueryFragment<Pg> for Report<R> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.sql);
        Ok(())
    }
}
