//! Reports of the database on its audit log.

mod continuity;
mod coverage;
mod health;
mod retention_plan;
mod statistics;

use diesel::dsl::{AsSelect, Select};
use diesel::pg::Pg;

pub use continuity::{BaselineState, ContinuityState, TableContinuity, continuity};
pub use coverage::{CoverageState, TableCoverage, coverage};
pub use health::{HealthProblem, Severity, health};
pub use retention_plan::{RetentionPlan, retention_plan};
pub use statistics::{CaptureActivity, StorageUsage, capture_activity, storage_usage};

/// A query for the rows `R` of a view in the schema `threadline`. Created by
/// [`coverage`](crate::coverage()), [`health`](crate::health()) and similar functions.
///
/// It is an ordinary Diesel query: filter, order and limit it by the columns of the view in
/// [`schema`](crate::schema::threadline).
pub type Report<View, R> = Select<View, AsSelect<R, Pg>>;
