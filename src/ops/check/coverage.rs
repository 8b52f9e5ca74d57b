use super::findings::{Check, SpecRow, findings, health_of_tables};
use crate::error::Error;
use crate::migrations::is_migrated;
use crate::model::TableSpec;
use crate::telemetry::Span;

/// Connections that [`assert_audited`] and [`assert_covered`] work on.
#[diagnostic::on_unimplemented(
    message = "what is audited cannot be looked at on `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait ChecksCoverage {
    /// A result, or the future of one.
    type Outcome<'a>
    where
        Self: 'a;

    #[doc(hidden)]
    fn check_coverage<'a>(&'a mut self, check: Check<'a>) -> Self::Outcome<'a>;
}

/// Whether every table is audited, or exempt for a reason: the strict check, for CI and for the start of an application.
///
/// On a [`PgConnection`](diesel::PgConnection) it returns a result, on an `AsyncPgConnection` the future of one.
/// What it looks at is [`coverage`](crate::coverage()).
///
/// ```sql
/// SELECT table_schema, table_name, state, … FROM threadline.coverage
/// ```
///
/// # Errors
///
/// [`Error::NotCovered`] with a finding for each table that is neither, [`Error::NotMigrated`], and [`Error::Database`] if the role
/// may not read it: `threadline.grant_reader` lets it.
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::Error;
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// diesel::sql_query("CREATE TABLE sessions (id integer PRIMARY KEY)").execute(&mut conn)?;
/// let Err(Error::NotCovered { findings }) = threadline::assert_covered(&mut conn) else { panic!() };
/// assert_eq!(findings[0].table, "public.sessions");
///
/// diesel::sql_query("SELECT threadline.exempt_table('sessions', 'nothing in it is kept')").execute(&mut conn)?;
/// threadline::assert_covered(&mut conn)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn assert_covered<C: ChecksCoverage>(conn: &mut C) -> C::Outcome<'_> {
    conn.check_coverage(Check { specs: None })
}

/// Whether the database audits what the models say, as they say it, and every other table is audited or exempt. One line in a
/// test of yours, on a database with your migrations; it changes nothing.
///
/// For each specification: the table is there and under capture; the columns that are masked and excluded, the granularity asked for and the
/// key are those of the model. For every audited table: its triggers and capture functions are those that were made,
/// its definition is that of the table as it is, made by the generator of this version. For the rest: [`assert_covered`].
///
/// On a [`PgConnection`](diesel::PgConnection) it returns a result, on an `AsyncPgConnection` the future of one.
///
/// ```sql
/// SELECT … FROM unnest($1::text[]) AS s (name) LEFT JOIN threadline.audited_tables AS a ON a.relation = to_regclass(s.name) …;
/// SELECT … FROM threadline.coverage;
/// SELECT … FROM threadline_internal.health_tables();
/// ```
///
/// # Errors
///
/// [`Error::NotCovered`], which lists all that is wrong, each with what to do about it; [`Error::NotMigrated`]; and
/// [`Error::Database`].
///
/// # Example
///
/// ```
/// use diesel::prelude::*;
/// use threadline::prelude::*;
///
/// # mod schema { diesel::table! { users { id -> Integer, email -> Text } } }
/// # use schema::users;
/// #[derive(Queryable, Selectable, Audited)]
/// #[audited(mask(email))]
/// struct User { id: i32, email: String }
///
/// # const ATTRIBUTE: &str = stringify!(
/// #[test]
/// # );
/// fn models_are_audited() -> Result<(), threadline::Error> {
///     let mut conn = test_database();  // with all migrations
///     threadline::assert_audited(&mut conn, &[User::audit_spec()])
/// }
/// # thread_local!(static DATABASE: threadline_test_support::Database = threadline_test_support::Database::new());
/// # fn test_database() -> PgConnection { DATABASE.with(|database| database.connect()) }
/// # let error = models_are_audited().unwrap_err().to_string();
/// # assert!(error.contains("\"users\": there is no such table"), "{error}");
/// # let mut conn = test_database();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, email text)").execute(&mut conn).unwrap();
/// # diesel::sql_query(User::audit_spec().up_sql()).execute(&mut conn).unwrap();
/// # models_are_audited().unwrap();
/// ```
pub fn assert_audited<'a, C: ChecksCoverage>(
    conn: &'a mut C,
    specs: &'a [TableSpec],
) -> C::Outcome<'a> {
    conn.check_coverage(Check { specs: Some(specs) })
}

#[cfg(feature = "sync")]
impl ChecksCoverage for diesel::PgConnection {
    type Outcome<'a> = Result<(), Error>;

    fn check_coverage<'a>(&'a mut self, check: Check<'a>) -> Self::Outcome<'a> {
        use diesel::RunQueryDsl;

        Span::operation("coverage", None).in_scope(|| {
            if !diesel::select(is_migrated()).get_result(self)? {
                return Err(Error::NotMigrated);
            }
            let tables = crate::query::coverage().load(self)?;
            let Some(specs) = check.specs else {
                return findings(&[], &[], &tables, &[]);
            };
            let rows: Vec<SpecRow> = SpecRow::query(specs).load(self)?;
            let problems = health_of_tables().load(self)?;
            findings(specs, &rows, &tables, &problems)
        })
    }
}

#[cfg(feature = "async")]
impl ChecksCoverage for diesel_async::AsyncPgConnection {
    type Outcome<'a> = std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

    fn check_coverage<'a>(&'a mut self, check: Check<'a>) -> Self::Outcome<'a> {
        use diesel_async::RunQueryDsl;

        let span = Span::operation("coverage", None);
        Box::pin(span.instrument(async move {
            if !RunQueryDsl::get_result(diesel::select(is_migrated()), self).await? {
                return Err(Error::NotMigrated);
            }
            let tables = RunQueryDsl::load(crate::query::coverage(), self).await?;
            let Some(specs) = check.specs else {
                return findings(&[], &[], &tables, &[]);
            };
            let rows: Vec<SpecRow> = RunQueryDsl::load(SpecRow::query(specs), self).await?;
            let problems = RunQueryDsl::load(health_of_tables(), self).await?;
            findings(specs, &rows, &tables, &problems)
        }))
    }
}
