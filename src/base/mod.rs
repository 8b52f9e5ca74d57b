//! What every other layer stands on: errors, names, table specifications, the migrations.

mod error;
mod finding;
mod ident;
mod patches;
mod spec;
pub(crate) mod telemetry;
mod text_enum;

use diesel_migrations::{EmbeddedMigrations, embed_migrations};

pub use error::Error;
pub use finding::Finding;
#[cfg(any(feature = "async", feature = "sync"))]
pub(crate) use ident::Literal;
pub(crate) use ident::rendered;
pub use patches::{PATCHES, Patch};
pub use spec::{Granularity, TableSpec};
#[cfg(any(feature = "async", feature = "sync"))]
pub(crate) use telemetry::Span;
pub(crate) use text_enum::text_enum;

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
