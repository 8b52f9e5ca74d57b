use std::fmt;

use diesel::pg::Pg;
use diesel::prelude::*;

use super::Report;
use crate::schema::threadline::health;
use crate::telemetry;
use crate::text_enum::text_enum;

/// What is wrong with the audit log and with capture, the errors first: loads [`HealthProblem`], none when all is well.
///
/// [`check_health`](crate::check_health) asks this, knows of pending migrations as well, and counts.
///
/// ```sql
/// SELECT "check", severity, table_schema, table_name, message, hint FROM threadline.health
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

/// Something that is wrong with the audit log or with capture.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = health, check_for_backend(Pg))]
#[non_exhaustive]
pub struct HealthProblem {
    /// Which check found it: a word for programs, as in `trigger_missing`. `docs/production.md` lists them.
    pub check: String,
    /// How bad it is.
    pub severity: Severity,
    /// The schema of the table it is about, if it is about one.
    pub table_schema: Option<String>,
    /// The table it is about.
    pub table_name: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
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
    /// How bad a [`HealthProblem`] is.
    pub enum Severity {
        /// Changes may be missing from the audit log, or be forged.
        Error = "error",
        /// Nothing is lost yet, or nothing that matters.
        Warning = "warning",
    }
}
