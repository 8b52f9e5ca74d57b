//! What the database says of itself.

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

/// The rows `R` of a view of the schema `threadline`: made by [`coverage`](crate::coverage()), [`health`](crate::health())
/// and their like.
///
/// It is an ordinary query of Diesel: filter, order and limit it by the columns of the view in
/// [`schema`](crate::schema::threadline).
pub type Report<View, R> = Select<View, AsSelect<R, Pg>>;
