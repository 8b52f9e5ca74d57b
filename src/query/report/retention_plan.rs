use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;

use super::Report;
use crate::schema::threadline::retention_plan;
use crate::telemetry;

/// Queries what a [purge](crate::purge()) would remove now, by partition and table: loads
/// [`RetentionPlan`]. Changes nothing.
///
/// It counts the changes, so it reads all changes that are old enough.
///
/// ```sql
/// SELECT partition, table_schema, table_name, retention_cutoff, is_dropped, changes, kept FROM threadline.retention_plan
/// ```
///
/// # Errors
///
/// The reader needs the rights that `threadline.grant_reader` gives.
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

/// What a purge would remove for one table from one partition of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = retention_plan, check_for_backend(Pg))]
#[non_exhaustive]
pub struct RetentionPlan {
    /// The name of the partition, without its schema.
    pub partition: String,
    /// The schema of the table.
    pub table_schema: String,
    /// The name of the table.
    pub table_name: String,
    /// The purge removes changes from before this time. Afterwards, the table can no longer be read
    /// as of an earlier time.
    pub retention_cutoff: Option<DateTime<Utc>>,
    /// Whether the whole partition is dropped. Otherwise the changes are deleted in batches.
    pub is_dropped: bool,
    /// The number of changes to remove.
    pub changes: i64,
    /// The number of changes of the table that stay in this partition, because they are newer or
    /// under a legal hold.
    pub kept: i64,
}
