//! The migrations that create and upgrade the schemas `threadline` and `threadline_internal`.

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

/// Whether the database has what the library calls. Asked first, because Diesel does not tell an undefined function from
/// other errors.
#[cfg(feature = "__connection")]
pub(crate) fn is_migrated() -> diesel::expression::SqlLiteral<diesel::sql_types::Bool> {
    diesel::dsl::sql(
        "(pg_catalog.to_regclass('threadline.health') IS NOT NULL AND pg_catalog.to_regprocedure(\
         'threadline.audit_table(pg_catalog.regclass, pg_catalog.text[], pg_catalog.text[], pg_catalog.text, pg_catalog.text[])') IS NOT NULL)",
    )
}
