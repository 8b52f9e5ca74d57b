use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;

use super::Report;
use crate::schema::threadline::continuity;
use crate::telemetry;
use crate::text_enum::text_enum;

/// What is and is not known of each table that is, was or could be audited: loads [`TableContinuity`].
///
/// Of a table not yet audited it says whether it can be, and what would be missing then. Exempt tables are left out.
///
/// ```sql
/// SELECT table_schema, table_name, state, capture_since, readable_since, row_estimate, baseline, baseline_rows, ready, message, hint
///   FROM threadline.continuity
/// ```
///
/// # Errors
///
/// The reader needs what `threadline.grant_reader` gives. Row level security that hides rows from the reader is told as a table that is not ready.
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::{BaselineState, ContinuityState, TableContinuity};
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE logs (line text)").execute(&mut conn)?;
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY)").execute(&mut conn)?;
/// # diesel::sql_query("SELECT threadline.audit_table('users')").execute(&mut conn)?;
/// let tables: Vec<TableContinuity> = threadline::continuity().load(&mut conn)?;
/// let (logs, users) = (&tables[0], &tables[1]);
/// assert_eq!((logs.state, logs.ready), (ContinuityState::Uncovered, false));
/// assert_eq!(logs.message, "it can be audited, but not all of its history be told: it has no primary key");
///
/// assert!(users.ready && users.readable_since.is_some());
/// assert_eq!(users.baseline, Some(BaselineState::None));
/// # Ok::<_, diesel::result::Error>(())
/// ```
pub fn continuity() -> Report<continuity::table, TableContinuity> {
    telemetry::query("continuity", None);
    continuity::table.select(TableContinuity::as_select())
}

/// A table, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = continuity, check_for_backend(Pg))]
#[non_exhaustive]
pub struct TableContinuity {
    /// Its schema.
    pub table_schema: String,
    /// Its name.
    pub table_name: String,
    /// Whether it is audited.
    pub state: ContinuityState,
    /// Every change from this time on was recorded; `None` unless it is or was audited.
    pub capture_since: Option<DateTime<Utc>>,
    /// The earliest time it can be read as of; `None` unless it is audited. Later than `capture_since` where older changes
    /// were removed from the audit log.
    pub readable_since: Option<DateTime<Utc>>,
    /// About how many rows it has now, partitions included.
    pub row_estimate: i64,
    /// Whether the rows that were there at `readable_since` are recorded; `None` unless it is audited.
    pub baseline: Option<BaselineState>,
    /// How many of them are, as snapshots; `None` without a baseline.
    pub baseline_rows: Option<i64>,
    /// Whether all can be told of it from `readable_since` on, or could be once it is audited: the history of each row, the table as of a
    /// time, and a baseline.
    pub ready: bool,
    /// What is and is not known, in words.
    pub message: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

text_enum! {
    /// Whether the past of a table goes on.
    pub enum ContinuityState {
        /// It is under capture.
        Audited = "audited",
        /// It was, and its history is still there.
        Ended = "ended",
        /// It never was, and is not exempt.
        Uncovered = "uncovered",
    }
}

text_enum! {
    /// How far the rows from before capture are recorded.
    pub enum BaselineState {
        /// Each row has a change or a snapshot.
        Complete = "complete",
        /// No baseline was begun.
        None = "none",
        /// One was begun, and has not come to the end of the table.
        Partial = "partial",
    }
}
