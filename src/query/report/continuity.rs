use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;

use super::Report;
use crate::schema::threadline::continuity;
use crate::telemetry;
use crate::text_enum::text_enum;

/// Queries what is known about the past of every table that is, was or could be audited: loads
/// [`TableContinuity`].
///
/// For a table that is not audited yet, it says whether the table can be audited, and what would
/// then be missing. Exempt tables are left out.
///
/// ```sql
/// SELECT table_schema, table_name, state, capture_since, readable_since, row_estimate, baseline, baseline_rows, ready, message, hint
///   FROM threadline.continuity
/// ```
///
/// # Errors
///
/// The reader needs the rights that `threadline.grant_reader` gives. A table whose rows are hidden
/// from the reader by row-level security is reported as not ready.
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

/// A table, and what is known about its past.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = continuity, check_for_backend(Pg))]
#[non_exhaustive]
pub struct TableContinuity {
    /// The schema of the table.
    pub table_schema: String,
    /// The name of the table.
    pub table_name: String,
    /// Whether the table is audited.
    pub state: ContinuityState,
    /// Every change from this time on was recorded; `None` if the table was never audited.
    pub capture_since: Option<DateTime<Utc>>,
    /// The earliest time that the table can be read as of; `None` unless it is audited. Later than
    /// `capture_since` if older changes were purged from the audit log.
    pub readable_since: Option<DateTime<Utc>>,
    /// The approximate number of rows in the table now, including partitions.
    pub row_estimate: i64,
    /// Whether the rows that existed at `readable_since` are recorded; `None` unless the table is
    /// audited.
    pub baseline: Option<BaselineState>,
    /// The number of those rows that are recorded as snapshots; `None` without a baseline.
    pub baseline_rows: Option<i64>,
    /// Whether the past is complete from `readable_since` on, or would be complete once the table
    /// is audited: the history of every row, the table as of any time, and a baseline.
    pub ready: bool,
    /// A description of what is and is not known.
    pub message: String,
    /// How to complete it, if possible.
    pub hint: Option<String>,
}

text_enum! {
    /// The state of a table's history.
    pub enum ContinuityState {
        /// The table is under capture.
        Audited = "audited",
        /// The table was audited, and its history is still in the audit log.
        Ended = "ended",
        /// The table was never audited, and is not exempt.
        Uncovered = "uncovered",
    }
}

text_enum! {
    /// How far the rows from before capture are recorded.
    pub enum BaselineState {
        /// Every row has a change or a snapshot.
        Complete = "complete",
        /// No baseline was started.
        None = "none",
        /// A baseline was started, and has not reached the end of the table.
        Partial = "partial",
    }
}
