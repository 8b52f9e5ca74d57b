use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;

use super::Report;
use crate::schema::threadline::retention_plan;
use crate::telemetry;

/// What a [purge](crate::purge()) would remove now, by partition and table: loads [`RetentionPlan`]. Nothing is changed.
///
/// It counts the changes, and so reads all that are old enough.
///
/// ```sql
/// SELECT partition, table_schema, table_name, retention_cutoff, is_dropped, changes, kept FROM threadline.retention_plan
/// ```
///
/// # Errors
///
/// The reader needs what `threadline.grant_reader` gives.
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::RetentionPlan;
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("SELECT threadline.set_retention('90 days')").execute(&mut conn)?;
/// let plan: Vec<RetentionPlan> = threadline::retention_plan().load(&mut conn)?;
/// assert_eq!(plan, []);                                          // nothing is that old
/// # Ok::<_, diesel::result::Error>(())
/// ```
pub fn retention_plan() -> Report<retention_plan::table, RetentionPlan> {
    telemetry::query("retention_plan", None);
    retention_plan::table.select(RetentionPlan::as_select())
}

/// What a purge would remove of a table in a partition of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = retention_plan, check_for_backend(Pg))]
#[non_exhaustive]
pub struct RetentionPlan {
    /// The partition, without its schema.
    pub partition: String,
    /// The schema of the table.
    pub table_schema: String,
    /// The table.
    pub table_name: String,
    /// Changes from before this time go. The table could not be read as of a time before it any more.
    pub retention_cutoff: Option<DateTime<Utc>>,
    /// Whether the partition is dropped as a whole; else changes are deleted in batches.
    pub is_dropped: bool,
    /// How many changes go.
    pub changes: i64,
    /// How many changes of the table stay in this partition: younger, or held.
    pub kept: i64,
}
