//! The migrations that create and upgrade the schemas `threadline` and `threadline_internal`.

use diesel::connection::BoxableConnection;
use diesel::migration::{Migration, MigrationMetadata, MigrationName, MigrationSource, Result};
use diesel::pg::Pg;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

/// The migrations that create and upgrade the schema `threadline`.
///
/// Run them with [`diesel_migrations`] before you audit the first table; versions that have already
/// run are skipped. They only need the right to create a schema: no extension and no superuser.
///
/// All embedded migrations of a database share the table `__diesel_schema_migrations`. That works
/// for running migrations. To revert your own with `diesel migration`, copy these into your
/// `migrations/` directory instead, where it finds all of them.
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

/// One migration of Threadline as SQL, for tools that copy it into a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationFile {
    /// The name of its directory in [`MIGRATIONS`], which begins with its version.
    pub name: &'static str,
    /// The SQL that applies it.
    pub up: &'static str,
    /// The SQL that reverts it.
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

/// The SQL of [`MIGRATIONS`], in order. `threadline install` writes these files into a project's
/// own `migrations/`.
pub const FILES: &[MigrationFile] = files!["00000000000100_threadline_0_1",];

/// Returns the check at the start of the first of [`FILES`] as one statement. It verifies that
/// Diesel's table of migrations is a table, and that the table and its code belong to a superuser
/// or to the role that runs the migrations.
///
/// Run it before Diesel reads the table. It then also protects against a view of that name, whose
/// functions would run when Diesel reads it. `threadline install --apply` does this.
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

/// Wraps your migrations so that each one refreshes the audited tables at its end.
///
/// A migration that changes an audited table leaves its capture defined for the old columns. No
/// change goes unrecorded, but how a column was converted is known for certain only at the end of
/// the transaction that converted it. `refreshing` therefore runs and reverts every migration with
/// this statement at its end, in the same transaction:
///
/// ```sql
/// SELECT threadline.refresh_audited_tables();
/// ```
///
/// After a migration with `run_in_transaction = false`, the statement runs in a transaction of its
/// own. If Threadline is not installed yet, the migration runs unchanged. If no table has changed,
/// the refresh locks no table. A table that cannot be refreshed does not stop the migration: the
/// database raises a warning, and [health](crate::health) reports it.
///
/// The result is a migration source like any other: use it with a connection, with
/// `HarnessWithOutput`, or with `AsyncMigrationHarness` of `diesel-async`. If other tools run your
/// migrations, such as `diesel migration run`, make the statement the last line of every migration
/// that changes audited tables.
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

/// A migration source that refreshes the audited tables. Created by [`refreshing`].
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
    // A single statement, and therefore a single transaction if the migration has none.
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

/// Whether the database has the objects that the library calls. Checked first, because Diesel
/// cannot distinguish an undefined function from other errors.
#[cfg(feature = "__connection")]
pub(crate) fn is_migrated() -> diesel::expression::SqlLiteral<diesel::sql_types::Bool> {
    diesel::dsl::sql(
        "(pg_catalog.to_regclass('threadline.health') IS NOT NULL AND pg_catalog.to_regprocedure(\
         'threadline.audit_table(pg_catalog.regclass, pg_catalog.text[], pg_catalog.text[], pg_catalog.text, pg_catalog.text[], pg_catalog.text[])') IS NOT NULL)",
    )
}
