use std::fmt;

use diesel::pg::Pg;
use diesel::prelude::*;

use super::Report;
use crate::schema::threadline::health;
use crate::telemetry;
use crate::text_enum::text_enum;

/// Queries the problems of the audit log and of capture, errors first: loads [`HealthProblem`], and
/// no row if all is well.
///
/// [`check_health`](crate::check_health) runs this query, also checks for pending migrations, and
/// collects statistics.
///
/// ```sql
/// SELECT "check", severity, table_schema, table_name, message, hint FROM threadline.health
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
/// use threadline::HealthProblem;
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY)").execute(&mut conn)?;
/// # diesel::sql_query("SELECT threadline.audit_table('users')").execute(&mut conn)?;
/// diesel::sql_query("ALTER TABLE users ADD COLUMN name text").execute(&mut conn)?;
/// let problems: Vec<HealthProblem> = threadline::health().load(&mut conn)?;
/// assert_eq!(
///     problems[0].to_string(),
///     "warning: public.users: column name is new\n  SELECT threadline.refresh_audited_tables();",
/// );
/// # Ok::<_, diesel::result::Error>(())
/// ```
pub fn health() -> Report<health::table, HealthProblem> {
    telemetry::query("health", None);
    health::table.select(HealthProblem::as_select())
}

/// A problem of the audit log or of capture.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = health, check_for_backend(Pg))]
#[non_exhaustive]
pub struct HealthProblem {
    /// The check that found it: a word for programs, such as `trigger_missing`.
    /// `docs/production.md` lists them all.
    pub check: String,
    /// The severity of the problem.
    pub severity: Severity,
    /// The schema of the affected table; `None` if the problem is not about a table.
    pub table_schema: Option<String>,
    /// The affected table.
    pub table_name: Option<String>,
    /// The problem.
    pub message: String,
    /// How to fix it.
    pub hint: String,
}

impl fmt::Display for HealthProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity)?;
        if let (Some(schema), Some(table)) = (&self.table_schema, &self.table_name) {
            write!(f, "{schema}.{table}: ")?;
        }
        write!(f, "{}\n  {}", self.message, self.hint)
    }
}

text_enum! {
    /// The severity of a [`HealthProblem`].
    pub enum Severity {
        /// Changes may be missing from the audit log, or may be forged.
        Error = "error",
        /// Nothing has been lost yet, or nothing that matters.
        Warning = "warning",
    }
}
