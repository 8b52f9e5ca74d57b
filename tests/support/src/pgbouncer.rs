//! A PgBouncer in front of a database.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use diesel::sql_types::Text;
use diesel::{QueryableByName, RunQueryDsl};

use crate::cluster::private_directory;
use crate::data_directory::run;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::find::install_command;
use crate::server::connect;
use crate::url::ServerUrl;
use crate::user::ServerUser;
use crate::watchdog::Watchdog;

/// The commands that install PgBouncer.
const INSTALL: [(&str, &str); 3] = [
    ("apt-get", "install pgbouncer"),
    ("dnf", "install pgbouncer"),
    ("brew", "install pgbouncer"),
];

/// Where it is installed outside the `PATH` of a user who is not root.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"];

/// Only names the socket.
const PORT: u16 = 6432;

/// What a PgBouncer without `max_prepared_statements` needs; see `docs/pgbouncer.md`.
const WITHOUT_PREPARED_STATEMENTS: &str =
    "server_reset_query = DEALLOCATE ALL\nserver_reset_query_always = 1\n";

/// A running PgBouncer in transaction mode, for one database. It listens on a Unix socket only, and
/// ends with this value, or with this process.
#[derive(Debug)]
pub struct PgBouncer {
    url: String,
    version: (u32, u32),
    watchdog: Option<Watchdog>,
}

impl PgBouncer {
    pub(crate) fn start(
        database: &Database,
        pool_size: usize,
        settings: Option<&str>,
    ) -> Result<Self> {
        let (program, version) = find()?;
        let user = ServerUser::choose()?;
        let directory = private_directory(&user);
        let file = directory.join("pgbouncer.ini");
        // Killed, as the other signals do not mean the same in all versions, and it has nothing to
        // put in order.
        let mut watchdog = Watchdog::spawn(&user, &directory, "KILL", |command| {
            command.arg(program).arg(&file);
        })?;
        // No one else may enter, as there is no password.
        let mut mkdir = user.command("mkdir");
        run(mkdir
            .args(["-m", "700"])
            .arg(&directory)
            .stdin(watchdog.lifeline()?))?;
        let default = match version {
            (1, ..21) => WITHOUT_PREPARED_STATEMENTS,
            _ => "max_prepared_statements = 200\n",
        };
        let own = settings.unwrap_or(default);
        let text = configuration(database, &directory, pool_size)? + own;
        fs::write(&file, text).map_err(Error::while_doing(format!("write {}", file.display())))?;
        let not_utf8 = || Error::new("the name of the temporary directory is not UTF-8");
        let socket = directory.to_str().ok_or_else(not_utf8)?;
        let url = ServerUrl::for_socket(socket, PORT, "postgres").database(database.name());
        // It lets a client wait for a server that does not answer.
        let patient_url = format!("{url}&connect_timeout=10");
        watchdog.start("PgBouncer", || match connect(&patient_url) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        })?;
        Ok(Self {
            url,
            version,
            watchdog: Some(watchdog),
        })
    }

    /// The URL to connect to, for libpq and for tokio-postgres.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether this version keeps named prepared statements apart and at hand, which PgBouncer does
    /// since 1.21.
    #[must_use]
    pub fn knows_prepared_statements(&self) -> bool {
        self.version >= (1, 21)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.end();
        }
    }
}

/// The program and its version.
fn find() -> Result<(PathBuf, (u32, u32))> {
    if let Some(given) = env::var_os("PGBOUNCER").filter(|given| !given.is_empty()) {
        let program = PathBuf::from(given);
        let missing = || {
            Error::new(format!(
                "PGBOUNCER names {}, which does not run",
                program.display()
            ))
        };
        let version = version(&program).ok_or_else(missing)?;
        return Ok((program, version));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(PLACES.map(PathBuf::from))
        .map(|directory| directory.join("pgbouncer"))
        .find_map(|program| version(&program).map(|version| (program, version)))
        .ok_or_else(|| Error::new(advice()))
}

/// What to do when there is no PgBouncer.
fn advice() -> String {
    format!(
        "There is no PgBouncer to test with. Install one, which need not be running:

    {}

Or set PGBOUNCER to the program",
        install_command(&INSTALL)
    )
}

/// Reads 1 and 18 out of `PgBouncer 1.18.0`, which is the first line.
fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.lines().next()?.strip_prefix("PgBouncer ")?;
    let mut parts = number.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn configuration(database: &Database, directory: &Path, pool_size: usize) -> Result<String> {
    let environment = database.pg_env();
    let part = |keyword: &str, variable: &str| {
        let (_, value) = environment.iter().find(|(name, _)| name == variable)?;
        Some(format!(" {keyword}={}", quoted(value)))
    };
    let parts: String = [
        ("host", "PGHOST"),
        ("port", "PGPORT"),
        ("password", "PGPASSWORD"),
    ]
    .into_iter()
    .filter_map(|(keyword, variable)| part(keyword, variable))
    .collect();
    Ok(format!(
        "[databases]\n\
         {name} ={parts} user={user}\n\
         [pgbouncer]\n\
         unix_socket_dir = {directory}\n\
         listen_port = {PORT}\n\
         pidfile = {directory}/pid\n\
         auth_type = any\n\
         pool_mode = transaction\n\
         default_pool_size = {pool_size}\n\
         max_client_conn = 500\n\
         log_connections = 0\n\
         log_disconnections = 0\n",
        name = database.name(),
        user = quoted(&role(database)?),
        directory = directory.display(),
    ))
}

/// A URL need not name the user.
fn role(database: &Database) -> Result<String> {
    #[derive(QueryableByName)]
    struct Role {
        #[diesel(sql_type = Text)]
        role: String,
    }
    let mut conn = connect(database.url())?;
    diesel::sql_query("SELECT session_user::text AS role")
        .get_result(&mut conn)
        .map(|Role { role }| role)
        .map_err(Error::while_doing("ask the server who we are"))
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
