use super::health::{Capabilities, Health, applied, asked};
use super::telemetry;
use crate::error::Error;
use crate::query::Severity;
use crate::telemetry::Span;

/// A connection on which [`check_health`] can run.
#[diagnostic::on_unimplemented(
    message = "health cannot be checked on `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait ChecksHealth {
    /// A result, or a future of one.
    type Outcome<'a>
    where
        Self: 'a;

    #[doc(hidden)]
    fn check_health(&mut self) -> Self::Outcome<'_>;
}

/// Checks the audit log and capture for every known problem, and collects statistics of both:
/// returns [`Health`].
///
/// Use it in a health probe, in a scheduled job or at the start of an application. It changes
/// nothing, locks nothing, and reads changes only through indexes. With the feature `metrics`, it
/// is counted as `threadline.health.checked`.
///
/// On a [`PgConnection`](diesel::PgConnection) this returns a result, on an `AsyncPgConnection` a
/// future of one.
///
/// ```sql
/// SELECT version FROM __diesel_schema_migrations;
/// SELECT "check", severity, table_schema, table_name, message, hint FROM threadline.health;
/// SELECT … FROM threadline.storage_usage;
/// SELECT … FROM threadline.capture_activity;
/// ```
///
/// # Errors
///
/// [`Error::NotMigrated`]. [`Error::Database`] if the role lacks the read access that
/// `threadline.grant_reader` gives. A problem that the check finds is not an error.
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY)").execute(&mut conn)?;
/// # diesel::sql_query("SELECT threadline.audit_table('users')").execute(&mut conn)?;
/// let health = threadline::check_health(&mut conn)?;
/// assert!(health.is_healthy(), "{health}");
/// println!("the audit log takes {} bytes", health.figures.total_bytes());
///
/// diesel::sql_query("ALTER TABLE users DISABLE TRIGGER ALL").execute(&mut conn)?;
/// let health = threadline::check_health(&mut conn)?;
/// assert_eq!(health.problems[0].check, "trigger_disabled");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn check_health<C: ChecksHealth>(conn: &mut C) -> C::Outcome<'_> {
    conn.check_health()
}

#[cfg(feature = "sync")]
impl ChecksHealth for diesel::PgConnection {
    type Outcome<'a> = Result<Health, Error>;

    fn check_health(&mut self) -> Self::Outcome<'_> {
        use diesel::RunQueryDsl;

        Span::operation("health", None).in_scope(|| {
            let asked: Capabilities = asked().get_result(self)?;
            let mut health = Health::default();
            if asked.tells_migrations {
                health.compare_migrations(applied().load(self)?)?;
            }
            if asked.is_complete(&health)? {
                health.problems.extend(crate::query::health().load(self)?);
                health.figures.storage = crate::query::storage_usage().load(self)?;
                health.figures.captures = crate::query::capture_activity().load(self)?;
            }
            Ok(checked(health))
        })
    }
}

#[cfg(feature = "async")]
impl ChecksHealth for diesel_async::AsyncPgConnection {
    type Outcome<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Health, Error>> + Send + 'a>>;

    fn check_health(&mut self) -> Self::Outcome<'_> {
        use diesel_async::RunQueryDsl;

        let span = Span::operation("health", None);
        Box::pin(span.instrument(async move {
            let asked: Capabilities = RunQueryDsl::get_result(asked(), self).await?;
            let mut health = Health::default();
            if asked.tells_migrations {
                health.compare_migrations(RunQueryDsl::load(applied(), self).await?)?;
            }
            if asked.is_complete(&health)? {
                let problems: Vec<_> = RunQueryDsl::load(crate::query::health(), self).await?;
                health.problems.extend(problems);
                health.figures.storage =
                    RunQueryDsl::load(crate::query::storage_usage(), self).await?;
                health.figures.captures =
                    RunQueryDsl::load(crate::query::capture_activity(), self).await?;
            }
            Ok(checked(health))
        }))
    }
}

/// Sorts, counts and reports the result.
fn checked(mut health: Health) -> Health {
    health
        .problems
        .sort_by_key(|p| p.severity != Severity::Error);
    telemetry::health_checked(&health);
    health
}
