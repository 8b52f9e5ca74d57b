use std::fmt;

use diesel::Queryable;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{Nullable, Text};

use super::{Report, ReportRow};
use crate::telemetry;

/// What is wrong with the record and with capture, the errors first: loads [`HealthProblem`], none when all is well.
///
/// [`check_health`](crate::check_health) asks this, knows of pending migrations as well, and counts.
///
/// ```sql
/// SELECT "check", severity, table_schema, table_name, message, hint FROM threadline.health()
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
pub fn health() -> Report<HealthProblem> {
    telemetry::query("health", None);
    Report::new(
        "SELECT \"check\", severity, table_schema, table_name, message, hint FROM threadline.health()",
    )
}

/// Something that is wrong with the record or with capture.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
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

impl ReportRow for HealthProblem {
    type SqlType = (Text, Text, Nullable<Text>, Nullable<Text>, Text, Text);
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

/// How bad a [`HealthProblem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromSqlRow)]
#[non_exhaustive]
pub enum Severity {
    /// Changes may be missing from the record, or be forged.
    Error,
    /// Nothing is lost yet, or nothing that matters.
    Warning,
}

impl Severity {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromSql<Text, Pg> for Severity {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        match <String as FromSql<Text, Pg>>::from_sql(value)?.as_str() {
            "error" => Ok(Self::Error),
            "warning" => Ok(Self::Warning),
            other => Err(format!("`{other}` is not error or warning").into()),
        }
    }
}
