use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;

use super::Report;
use crate::model::Granularity;
use crate::schema::threadline::coverage;
use crate::telemetry;
use crate::text_enum::text_enum;

/// Queries every table of the database, and whether it is audited, exempt or neither: loads
/// [`TableCoverage`].
///
/// Partitions count as part of their table. The report leaves out temporary tables, tables of
/// extensions and of the server, Threadline's own tables, and the table in which Diesel records
/// migrations.
///
/// To exempt a table from audit, give the reason in a migration:
/// `SELECT threadline.exempt_table('sessions', 'nothing in it is kept')`.
/// `threadline.unexempt_table` ends the exemption.
///
/// ```sql
/// SELECT table_schema, table_name, state, reason, granularity, capture_since FROM threadline.coverage
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
/// use threadline::{CoverageState, TableCoverage};
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE sessions (id integer PRIMARY KEY)").execute(&mut conn)?;
/// # diesel::sql_query("SELECT threadline.exempt_table('sessions', 'nothing in it is kept')").execute(&mut conn)?;
/// let tables: Vec<TableCoverage> = threadline::coverage().load(&mut conn)?;
/// assert_eq!(tables[0].state, CoverageState::Exempt);
/// assert_eq!(tables[0].reason.as_deref(), Some("nothing in it is kept"));
/// # Ok::<_, diesel::result::Error>(())
/// ```
pub fn coverage() -> Report<coverage::table, TableCoverage> {
    telemetry::query("coverage", None);
    coverage::table.select(TableCoverage::as_select())
}

/// A table, and whether it is audited.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = coverage, check_for_backend(Pg))]
#[non_exhaustive]
pub struct TableCoverage {
    /// The schema of the table.
    pub table_schema: String,
    /// The name of the table.
    pub table_name: String,
    /// Whether the table is audited.
    pub state: CoverageState,
    /// The reason for the exemption; `None` unless the table is exempt.
    pub reason: Option<String>,
    /// How often capture runs; `None` unless it is audited.
    pub granularity: Option<Granularity>,
    /// Every change from this time on is recorded; `None` unless the table is audited.
    pub capture_since: Option<DateTime<Utc>>,
}

text_enum! {
    /// Whether a table is audited.
    pub enum CoverageState {
        /// The table is under capture.
        Audited = "audited",
        /// The table is exempt from audit, with a reason.
        Exempt = "exempt",
        /// The table is neither audited nor exempt. Someone has to decide.
        Uncovered = "uncovered",
    }
}
