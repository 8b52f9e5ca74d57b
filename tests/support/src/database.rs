//! A database for a test.

use std::mem::ManuallyDrop;
use std::path::Path;

use diesel::PgConnection;

use crate::data_directory::Origin;
use crate::error::{Error, Result};
use crate::find::Installation;
use crate::pgbouncer::PgBouncer;
use crate::server::{Server, connect};

/// What a new [`Database`] holds.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// Nothing.
    Empty,
    /// Threadline's migrations.
    Migrated,
}

/// A database of one's own, dropped together with this value, connections or not.
#[derive(Debug)]
pub struct Database {
    pub(crate) server: &'static Server,
    name: String,
    url: String,
}

impl Database {
    /// A new database with Threadline's migrations.
    ///
    /// # Panics
    ///
    /// When there is no PostgreSQL, with a message that says what to do about it.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "a database is not a default value of anything"
    )]
    pub fn new() -> Self {
        Self::create(Content::Migrated).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A new database with nothing in it.
    ///
    /// # Panics
    ///
    /// As [`Database::new`].
    #[must_use]
    pub fn empty() -> Self {
        Self::create(Content::Empty).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What [`Database::new`] and [`Database::empty`] do, for those who must not panic.
    ///
    /// # Errors
    ///
    /// When there is no PostgreSQL, or the database cannot be created or migrated.
    pub fn create(content: Content) -> Result<Self> {
        Self::on(Server::get()?, content)
    }

    /// A new database with Threadline's migrations, on a server that nobody else uses, for whoever
    /// means to kill it. It says that a transaction has committed when it will know after a crash.
    /// The server ends with this process.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is not installed, with a message that says what to do about it.
    #[must_use]
    pub fn alone() -> Self {
        let create = || {
            let server = Box::leak(Box::new(Server::start(Origin::Archive, &[])?));
            server.execute("ALTER ROLE ALL SET synchronous_commit = on")?;
            Self::on(server, Content::Migrated)
        };
        create().unwrap_or_else(|error: Error| panic!("{error}"))
    }

    /// A new database with Threadline's migrations, on a server of its own with settings such as `max_connections=10`. The
    /// server ends with this process.
    ///
    /// # Panics
    ///
    /// As [`Database::alone`].
    #[must_use]
    pub fn with_settings(settings: &[&str]) -> Self {
        let create = || {
            let server = Box::leak(Box::new(Server::start(Origin::Archive, settings)?));
            Self::on(server, Content::Migrated)
        };
        create().unwrap_or_else(|error: Error| panic!("{error}"))
    }

    /// A new database with nothing in it, on a server of its own whose cluster was initialised for it: to restore a
    /// dump into. The server ends with this process.
    ///
    /// # Panics
    ///
    /// As [`Database::alone`].
    #[must_use]
    pub fn elsewhere() -> Self {
        let create = || {
            Self::on(
                Box::leak(Box::new(Server::start(Origin::Initdb, &[])?)),
                Content::Empty,
            )
        };
        create().unwrap_or_else(|error: Error| panic!("{error}"))
    }

    /// [`Database::elsewhere`] on a server of the version whose programs are in `bin`; `None` where there are none.
    ///
    /// # Panics
    ///
    /// When the server does not start.
    #[must_use]
    pub fn elsewhere_with(bin: &Path) -> Option<Self> {
        let installation = Installation::in_directory(bin, "initdb")?;
        let create = || {
            let server = Server::start_with(installation, Origin::Initdb, &[])?;
            Self::on(Box::leak(Box::new(server)), Content::Empty)
        };
        Some(create().unwrap_or_else(|error: Error| panic!("{error}")))
    }

    /// This database after `pg_upgrade` of its server to the version whose programs are in `bin`. Nobody else may use the
    /// old server: it is shut down.
    ///
    /// # Panics
    ///
    /// When `bin` has no `pg_upgrade`, or it fails.
    #[must_use]
    pub fn upgraded_in_place(self, bin: &Path) -> Self {
        // Its server cannot drop it any more.
        let old = ManuallyDrop::new(self);
        let upgrade = || {
            let missing = || Error::new(format!("{} has no pg_upgrade", bin.display()));
            let installation = Installation::in_directory(bin, "pg_upgrade").ok_or_else(missing)?;
            let server = Box::leak(Box::new(old.server.upgraded(installation)?));
            let url = server.url.database(&old.name);
            Ok(Self {
                server,
                name: old.name.clone(),
                url,
            })
        };
        upgrade().unwrap_or_else(|error: Error| panic!("{error}"))
    }

    /// Another one with Threadline's migrations on the same server.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self::on(self.server, Content::Migrated).unwrap_or_else(|error| panic!("{error}"))
    }

    fn on(server: &'static Server, content: Content) -> Result<Self> {
        let name = server.create_database(content)?;
        let url = server.url.database(&name);
        Ok(Self { server, name, url })
    }

    /// The URL to connect to, for libpq and for tokio-postgres.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new connection.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    #[must_use]
    pub fn connect(&self) -> PgConnection {
        connect(&self.url).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A PgBouncer in transaction mode in front of this database, with at most `pool_size` server
    /// connections.
    ///
    /// ```no_run
    /// use diesel::prelude::*;
    /// use threadline_test_support::Database;
    ///
    /// let db = Database::empty();
    /// let pgbouncer = db.pgbouncer(2);
    /// let mut conn = PgConnection::establish(pgbouncer.url())?;
    /// diesel::sql_query("SELECT 1").execute(&mut conn)?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// When PgBouncer is not installed or does not start, with a message that says what to do.
    #[must_use]
    pub fn pgbouncer(&self, pool_size: usize) -> PgBouncer {
        PgBouncer::start(self, pool_size, None).unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`Database::pgbouncer`] with these lines in its configuration in place of those that its
    /// version needs for prepared statements.
    ///
    /// # Panics
    ///
    /// As [`Database::pgbouncer`].
    #[must_use]
    pub fn pgbouncer_with(&self, pool_size: usize, settings: &str) -> PgBouncer {
        PgBouncer::start(self, pool_size, Some(settings)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The environment in which `psql`, `pgbench` and other programs of
    /// [`pg_bin`](crate::pg_bin) use this database: `PGHOST`, `PGPORT`, `PGUSER`, `PGDATABASE` and
    /// what else the URL says.
    ///
    /// ```
    /// use std::process::Command;
    /// use threadline_test_support::{Database, pg_bin};
    ///
    /// let db = Database::empty();
    /// let mut psql = Command::new(pg_bin().join("psql"));
    /// let output = psql.args(["-Atc", "SELECT current_database()"]).envs(db.pg_env()).output()?;
    /// assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), db.name());
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn pg_env(&self) -> Vec<(String, String)> {
        self.server.url.environment(&self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A panic here could end the process, and hide the failure of the test that is unwinding.
        if let Err(error) = self.server.drop_database(&self.name) {
            eprintln!("{error}");
        }
    }
}
