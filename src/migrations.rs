//! The migrations that create and upgrade the schemas `threadline` and `threadline_internal`.

use diesel::connection::BoxableConnection;
use diesel::migration::{Migration, MigrationMetadata, MigrationName, MigrationSource, Result};
use diesel::pg::Pg;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

/// The migrations that create and upgrade the schema `threadline`.
///
/// Run them with [`diesel_migrations`] before the first table is audited; versions that have run are skipped. They
/// need nothing but the right to create a schema: no extension, no superuser.
///
/// Embedded migrations of one database share the table `__diesel_schema_migrations`, which is fine for running
/// them. To revert your own, copy these into your `migrations/` directory instead, where `diesel migration` finds all.
///
/// # Example
///
/// ```
/// # use threadline_test_support::Database;
/// use diesel_migrations::MigrationHarness;
///
/// # let database = Database::empty();
/// # let mut conn = database.connect();
/// conn.run_pending_migrations(threadline::MIGRATIONS)?;
/// # assert!(!conn.has_pending_migration(threadline::MIGRATIONS)?);
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// One migration of Threadline, as SQL: for tools that copy it into a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationFile {
    /// Its directory in [`MIGRATIONS`], which begins with its version.
    pub name: &'static str,
    /// What it does.
    pub up: &'static str,
    /// What undoes it.
    pub down: &'static str,
}

macro_rules! files {
    ($($name:literal,)+) => {
        &[$(MigrationFile {
            name: $name,
            up: include_str!(concat!("../migrations/", $name, "/up.sql")),
            down: include_str!(concat!("../migrations/", $name, "/down.sql")),
        }),+]
    };
}

/// The SQL of [`MIGRATIONS`], in order. `threadline install` writes it into a project's own `migrations/`.
pub const FILES: &[MigrationFile] = files!["00000000000100_threadline_0_1",];

/// The check with which the first of [`FILES`] begins, as one statement: that Diesel's table of migrations is a table, and
/// that it and its code belong to the role that runs the migrations or to a superuser.
///
/// To run it before Diesel looks at the table protects from a view of that name as well, whose functions run when it is read.
/// `threadline install --apply` does so.
///
/// # Example
///
/// ```
/// # use threadline_test_support::Database;
/// use diesel::connection::SimpleConnection;
/// use diesel_migrations::MigrationHarness;
///
/// # let database = Database::empty();
/// # let mut conn = database.connect();
/// conn.batch_execute(threadline::migrations::check_sql())?;
/// conn.run_pending_migrations(threadline::MIGRATIONS)?;
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use]
pub fn check_sql() -> &'static str {
    let up = FILES[0].up;
    let statement = up.find("DO $check$").zip(up.find("$check$;\n"));
    statement.map_or("", |(begin, end)| &up[begin..end + "$check$;".len()])
}

/// Your migrations, each with a refresh of the audited tables at its end.
///
/// A migration that changes an audited table leaves its capture defined for the table as it was. Nothing goes unrecorded then,
/// but how a column was converted is known for certain only at the end of the transaction that did it. So this runs and
/// reverts every migration with this line after it, in the same transaction:
///
/// ```sql
/// SELECT threadline.refresh_audited_tables();
/// ```
///
/// A migration with `run_in_transaction = false` has it right after, in a transaction of its own. Where Threadline is not yet
/// installed, a migration runs as it is. Where nothing has changed, the refresh takes no lock on a table. What could not be refreshed does not stop a migration: the database warns of it, and
/// [health](crate::health) names it.
///
/// It stands wherever migrations stand: for a connection, a `HarnessWithOutput`, or the `AsyncMigrationHarness` of
/// `diesel-async`. Migrations that run otherwise, as by `diesel migration run`, have that line as their last one, where they
/// change audited tables.
///
/// # Example
///
/// ```
/// # use threadline_test_support::Database;
/// use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
///
/// const MIGRATIONS: EmbeddedMigrations = embed_migrations!();
///
/// # let database = Database::empty();
/// # let mut conn = database.connect();
/// conn.run_pending_migrations(threadline::MIGRATIONS)?;
/// conn.run_pending_migrations(threadline::migrations::refreshing(MIGRATIONS))?;
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// With `diesel-async`:
///
/// ```
/// # use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
/// # const MIGRATIONS: EmbeddedMigrations = embed_migrations!();
/// use diesel_async::{AsyncMigrationHarness, AsyncPgConnection};
///
/// # fn migrate(conn: AsyncPgConnection) -> diesel::migration::Result<()> {
/// let mut harness = AsyncMigrationHarness::new(conn);
/// harness.run_pending_migrations(threadline::migrations::refreshing(MIGRATIONS))?;
/// # Ok(())
/// # }
/// ```
pub fn refreshing<S: MigrationSource<Pg>>(source: S) -> Refreshing<S> {
    Refreshing(source)
}

/// See [`refreshing`].
#[derive(Debug, Clone, Copy)]
pub struct Refreshing<S>(S);

impl<S: MigrationSource<Pg>> MigrationSource<Pg> for Refreshing<S> {
    fn migrations(&self) -> Result<Vec<Box<dyn Migration<Pg>>>> {
        let migrations = self.0.migrations()?.into_iter();
        Ok(migrations
            .map(|migration| Box::new(RefreshingMigration(migration)) as Box<dyn Migration<Pg>>)
            .collect())
    }
}

struct RefreshingMigration(Box<dyn Migration<Pg>>);

impl Migration<Pg> for RefreshingMigration {
    fn run(&self, conn: &mut dyn BoxableConnection<Pg>) -> Result<()> {
        self.0.run(conn)?;
        refresh_if_migrated(conn)
    }

    fn revert(&self, conn: &mut dyn BoxableConnection<Pg>) -> Result<()> {
        self.0.revert(conn)?;
        refresh_if_migrated(conn)
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        self.0.metadata()
    }

    fn name(&self) -> &dyn MigrationName {
        self.0.name()
    }
}

fn refresh_if_migrated(conn: &mut dyn BoxableConnection<Pg>) -> Result<()> {
    // One statement, and so one transaction where the migration has none.
    conn.batch_execute(
        "DO $do$
         BEGIN
           IF pg_catalog.to_regprocedure('threadline.refresh_audited_tables()') IS NOT NULL THEN
             PERFORM threadline.refresh_audited_tables();
           END IF;
         END
         $do$",
    )?;
    Ok(())
}

/// Whether the database has what the library calls. Asked first, because Diesel does not tell an undefined function from
/// other errors.
#[cfg(feature = "__connection")]
pub(crate) fn is_migrated() -> diesel::expression::SqlLiteral<diesel::sql_types::Bool> {
    diesel::dsl::sql(
        "(pg_catalog.to_regclass('threadline.health') IS NOT NULL AND pg_catalog.to_regprocedure(\
         'threadline.audit_table(pg_catalog.regclass, pg_catalog.text[], pg_catalog.text[], pg_catalog.text, pg_catalog.text[], pg_catalog.text[])') IS NOT NULL)",
    )
}
