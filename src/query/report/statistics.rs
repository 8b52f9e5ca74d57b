use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;

use super::Report;
use crate::schema::threadline::{capture_activity, storage_usage};
use crate::telemetry;

/// Queries the size of the audit log: loads one [`StorageUsage`] for each table and for each
/// partition of the changes.
///
/// ```sql
/// SELECT table_name, changes_from, changes_before, row_estimate, total_bytes FROM threadline.storage_usage
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
/// use threadline::StorageUsage;
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// let tables: Vec<StorageUsage> = threadline::storage_usage().load(&mut conn)?;
/// let months = tables.iter().filter(|table| table.changes_from.is_some()).count();
/// assert_eq!(months, 4);
/// # Ok::<_, diesel::result::Error>(())
/// ```
pub fn storage_usage() -> Report<storage_usage::table, StorageUsage> {
    telemetry::query("storage_usage", None);
    storage_usage::table.select(StorageUsage::as_select())
}

/// A table or a partition of the audit log, and its size.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = storage_usage, check_for_backend(Pg))]
#[non_exhaustive]
pub struct StorageUsage {
    /// The name of the table, in the schema `threadline`.
    pub table_name: String,
    /// The start of the month whose changes it holds; `None` if it is not a monthly partition.
    pub changes_from: Option<DateTime<Utc>>,
    /// The end of that month.
    pub changes_before: Option<DateTime<Utc>>,
    /// The approximate number of rows.
    pub row_estimate: i64,
    /// The size on disk in bytes, including indexes.
    pub total_bytes: i64,
}

/// Queries the times of the oldest and the latest recorded change of each table: loads
/// [`CaptureActivity`].
///
/// Fast for an audit log of any size, because each time is looked up in an index.
///
/// ```sql
/// SELECT table_schema, table_name, capture_since, capture_ended_at, first_captured_at, last_captured_at FROM threadline.capture_activity
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
/// use threadline::CaptureActivity;
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY)").execute(&mut conn)?;
/// # diesel::sql_query("SELECT threadline.audit_table('users')").execute(&mut conn)?;
/// let tables: Vec<CaptureActivity> = threadline::capture_activity().load(&mut conn)?;
/// assert_eq!(tables[0].table_name, "users");
/// assert_eq!(tables[0].last_captured_at, None);
/// # Ok::<_, diesel::result::Error>(())
/// ```
pub fn capture_activity() -> Report<capture_activity::table, CaptureActivity> {
    telemetry::query("capture_activity", None);
    capture_activity::table.select(CaptureActivity::as_select())
}

/// A table that is or was under capture, and the times of its changes.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = capture_activity, check_for_backend(Pg))]
#[non_exhaustive]
pub struct CaptureActivity {
    /// The schema of the table.
    pub table_schema: String,
    /// The name of the table.
    pub table_name: String,
    /// Every change from this time on is recorded.
    pub capture_since: DateTime<Utc>,
    /// When capture ended; `None` while it is active.
    pub capture_ended_at: Option<DateTime<Utc>>,
    /// When the oldest change in the audit log was captured; `None` if there are no changes.
    pub first_captured_at: Option<DateTime<Utc>>,
    /// When the latest change in the audit log was captured; `None` if there are no changes.
    pub last_captured_at: Option<DateTime<Utc>>,
}
