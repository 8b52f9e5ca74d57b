use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;

use super::Report;
use crate::schema::threadline::{capture_activity, storage_usage};
use crate::telemetry;

/// How large the audit log is: loads [`StorageUsage`], one a table and one a partition of the changes.
///
/// ```sql
/// SELECT table_name, changes_from, changes_before, row_estimate, total_bytes FROM threadline.storage_usage
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
    /// Its name in the schema `threadline`.
    pub table_name: String,
    /// The start of the month whose changes it holds; `None` if it is no such partition.
    pub changes_from: Option<DateTime<Utc>>,
    /// The end of that month.
    pub changes_before: Option<DateTime<Utc>>,
    /// About how many rows it has.
    pub row_estimate: i64,
    /// What it takes on disk, indexes included.
    pub total_bytes: i64,
}

/// From when to when changes of each table were recorded: loads [`CaptureActivity`].
///
/// Fast at any size of the audit log: each time is found in an index.
///
/// ```sql
/// SELECT table_schema, table_name, capture_since, capture_ended_at, first_captured_at, last_captured_at FROM threadline.capture_activity
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
    /// Its schema.
    pub table_schema: String,
    /// Its name.
    pub table_name: String,
    /// Every change from this time on is recorded.
    pub capture_since: DateTime<Utc>,
    /// When capture was ended; `None` while it goes on.
    pub capture_ended_at: Option<DateTime<Utc>>,
    /// The oldest change in the audit log; `None` without any.
    pub first_captured_at: Option<DateTime<Utc>>,
    /// The latest change in the audit log.
    pub last_captured_at: Option<DateTime<Utc>>,
}
