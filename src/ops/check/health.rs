//! The queries and results of [`check_health`](super::check_health), without a connection.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use crate::error::Error;
use crate::migrations::{MIGRATIONS, is_migrated};
use crate::query::{CaptureActivity, HealthProblem, Severity, StorageUsage};

/// The result of [`check_health`](crate::check_health).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Health {
    /// The problems, errors first; empty if all is well.
    pub problems: Vec<HealthProblem>,
    /// Versions of the migrations that this version of Threadline has and the database does not.
    /// Each one is also listed as a problem. `None` if this cannot be determined: Diesel did not
    /// run the migrations, or this connection cannot find or read the table in which Diesel records
    /// them.
    pub pending_migrations: Option<Vec<String>>,
    /// The size of the audit log, and the times of its changes.
    pub figures: LogStats,
}

impl Health {
    /// Whether there are no problems, not even warnings.
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns the severity of the worst problem; `None` if all is well.
    pub fn worst(&self) -> Option<Severity> {
        let has = |severity| self.problems.iter().any(|p| p.severity == severity);
        [Severity::Error, Severity::Warning]
            .into_iter()
            .find(|severity| has(*severity))
    }

    /// Records which of Threadline's migrations the database lacks.
    pub(super) fn compare_migrations(&mut self, applied: Vec<String>) -> Result<(), Error> {
        let ours = MigrationSource::<Pg>::migrations(&MIGRATIONS)
            .map_err(diesel::result::Error::QueryBuilderError)?;
        let ours = ours.iter().map(|m| m.name().version().to_string());
        self.pending_migrations = missing(&ours.collect(), applied);
        let pending_migrations = self.pending_migrations.iter().flatten();
        self.problems = pending_migrations.map(|version| pending(version)).collect();
        Ok(())
    }
}

/// Writes one paragraph per problem, or that all is well.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_healthy() {
            return f.write_str("healthy");
        }
        let problems: Vec<_> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&problems.join("\n"))
    }
}

/// The versions in `ours` that were not applied. `None` if none of them was applied: then something
/// other than Diesel ran them, or Diesel ran them under another name.
fn missing(ours: &BTreeSet<String>, applied: Vec<String>) -> Option<Vec<String>> {
    let applied = applied.into_iter().collect();
    let is_known = ours.intersection(&applied).next().is_some();
    is_known.then(|| ours.difference(&applied).cloned().collect())
}

fn pending(version: &str) -> HealthProblem {
    HealthProblem {
        check: "migration_pending".to_owned(),
        severity: Severity::Error,
        table_schema: None,
        table_name: None,
        message: format!("migration {version} of Threadline has not run"),
        hint: "conn.run_pending_migrations(threadline::MIGRATIONS)".to_owned(),
    }
}

/// The size of the audit log, and the times of its changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LogStats {
    /// Every table and partition of the audit log.
    pub storage: Vec<StorageUsage>,
    /// Every table that is or was under capture.
    pub captures: Vec<CaptureActivity>,
}

impl LogStats {
    /// Returns the size of the audit log on disk in bytes, including indexes.
    pub fn total_bytes(&self) -> i64 {
        self.storage.iter().map(|table| table.total_bytes).sum()
    }

    /// Returns the time of the oldest change.
    pub fn oldest_change(&self) -> Option<DateTime<Utc>> {
        self.captures
            .iter()
            .filter_map(|t| t.first_captured_at)
            .min()
    }

    /// Returns the time of the latest change.
    pub fn latest_change(&self) -> Option<DateTime<Utc>> {
        self.captures
            .iter()
            .filter_map(|t| t.last_captured_at)
            .max()
    }

    /// Returns the partition of the latest complete month, whose size shows the monthly growth of
    /// the audit log; `None` if there is none.
    pub fn last_full_month(&self) -> Option<&StorageUsage> {
        let now = Utc::now();
        let over = self
            .storage
            .iter()
            .filter(|p| p.changes_before <= Some(now));
        over.filter(|p| p.changes_before.is_some())
            .max_by_key(|p| p.changes_before)
    }
}

/// Which queries this database can answer.
#[derive(Queryable)]
pub(super) struct Capabilities {
    is_migrated: bool,
    pub(super) tells_migrations: bool,
}

impl Capabilities {
    /// Whether the remaining queries can run. If migrations are known to be pending, they may be
    /// the ones that those queries need.
    pub(super) fn is_complete(&self, health: &Health) -> Result<bool, Error> {
        let is_complete = self.is_migrated;
        if is_complete || !health.is_healthy() {
            Ok(is_complete)
        } else {
            Err(Error::NotMigrated)
        }
    }
}

type AskedSql = (SqlLiteral<Bool>, SqlLiteral<Bool>);

pub(super) fn asked() -> diesel::dsl::select<AskedSql> {
    diesel::select((
        is_migrated(),
        sql("coalesce(pg_catalog.has_table_privilege(\
             pg_catalog.to_regclass('__diesel_schema_migrations')::pg_catalog.oid, 'SELECT'), false)"),
    ))
}

diesel::table! {
    #[sql_name = "__diesel_schema_migrations"]
    schema_migrations (version) {
        version -> Text,
    }
}

/// The versions of all migrations that Diesel ran, including the application's.
pub(super) fn applied() -> diesel::dsl::Select<schema_migrations::table, schema_migrations::version>
{
    schema_migrations::table.select(schema_migrations::version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A migration is pending only if another one of Threadline's has run. The application's
    /// migrations do not count.
    #[test]
    fn migrations_are_pending_beside_others_of_ours() {
        let ours = || ["100", "200", "300"].map(ToOwned::to_owned).into();
        let missing =
            |applied: &[&str]| missing(&ours(), applied.iter().map(ToString::to_string).collect());
        let versions = |versions: &[&str]| Some(versions.iter().map(ToString::to_string).collect());
        assert_eq!(missing(&["2031", "100"]), versions(&["200", "300"]));
        assert_eq!(missing(&["300", "200", "100"]), versions(&[]));
        assert_eq!(missing(&["2031"]), None);
        assert_eq!(missing(&[]), None);

        let problem = pending("200");
        assert_eq!(problem.check, "migration_pending");
        assert_eq!(
            problem.to_string(),
            "error: migration 200 of Threadline has not run\n  conn.run_pending_migrations(threadline::MIGRATIONS)"
        );
    }
}
