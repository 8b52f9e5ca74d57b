//! The connection to PostgreSQL. It takes what libpq takes, but needs no libpq.

mod certificates;
mod files;
mod parameters;
mod password;
mod syntax;
mod tls;

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::{AsyncConnectionWrapper, BlockOn};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{Config, Socket};

use self::parameters::Parameters;
use self::tls::Tls;
use crate::arguments::Connection;
use crate::output::note;
use crate::{Result, with_causes};

/// What commands work on. Queries run on it as on a `PgConnection` of Diesel. The operations of Threadline run on the asynchronous connection
/// inside, `&mut **conn`, and [`wait`] waits for them.
pub(crate) type Database = AsyncConnectionWrapper<AsyncPgConnection, Waiting>;

/// A command does one thing at a time, so one thread is enough.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("the operating system has a queue of events for each process")
});

/// Runs it to its end.
pub(crate) fn wait<F: Future>(work: F) -> F::Output {
    RUNTIME.block_on(work)
}

/// How [`Database`] waits.
pub(crate) struct Waiting;

impl BlockOn for Waiting {
    fn block_on<F: Future>(&self, work: F) -> F::Output {
        wait(work)
    }

    fn get_runtime() -> Self {
        Self
    }
}

impl Connection {
    pub(crate) fn establish(&self) -> Result<Database> {
        let url = self.database_url.as_deref();
        let url = url.ok_or("no database is named: give --database-url, or set DATABASE_URL")?;
        let mut parameters = Parameters::read(url)?;
        let tls = Tls::take(&mut parameters)?;
        let mut conn = Database::from(wait(connect(&parameters.config()?, &tls))?);
        // Who looks into pg_stat_activity, or into what we change, sees who it was.
        conn.batch_execute("SET application_name = 'threadline'")?;
        Ok(conn)
    }
}

/// Tries one way to connect after the other, as `sslmode` has them.
async fn connect(config: &Config, tls: &Tls) -> Result<AsyncPgConnection> {
    let mut refusals: Vec<String> = Vec::new();
    for &mode in tls.attempts() {
        let mut config = config.clone();
        config.ssl_mode(mode);
        let error = match within_timeout(&config, tls).await? {
            Ok((client, connection)) => {
                let driver = tokio::spawn(drive(connection));
                DRIVERS
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(driver);
                return Ok(AsyncPgConnection::try_from(client).await?);
            }
            Err(error) => error,
        };
        let refusal = reason(&error);
        // Another way may do only where the server answered.
        let has_answered = error.as_db_error().is_some() || tls::is_about_tls(&error);
        if !refusals.contains(&refusal) {
            refusals.push(refusal);
        }
        if !has_answered {
            break;
        }
    }
    let refusals = refusals.join("; ");
    Err(format!("cannot connect to {}: {refusals}", address(config)).into())
}

fn reason(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), tls::explain(error)) {
        (Some(said), _) => said.message().to_owned(),
        (None, Some(explained)) => explained.to_owned(),
        (None, None) => with_causes(error),
    }
}

/// Reads and writes for a connection while something [waits](wait). Diesel would stop before the server is told that it ends, and the server complain of it.
async fn drive(connection: tokio_postgres::Connection<Socket, tls::Stream>) {
    if let Err(error) = connection.await {
        note!("the connection has ended: {}", reason(&error));
    }
}

static DRIVERS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Tells the server of connections that were dropped. It does not wait long for one that does not listen.
pub(crate) fn finish() {
    let drivers = std::mem::take(&mut *DRIVERS.lock().unwrap_or_else(PoisonError::into_inner));
    for driver in drivers {
        // If it cannot be told, it finds out.
        let _ = wait(async { tokio::time::timeout(Duration::from_secs(1), driver).await });
    }
}

type Connected = (
    tokio_postgres::Client,
    tokio_postgres::Connection<Socket, tls::Stream>,
);

/// `tokio_postgres` limits how long a socket takes to open, and libpq how long all takes until the server is ready.
async fn within_timeout(
    config: &Config,
    tls: &Tls,
) -> Result<std::result::Result<Connected, tokio_postgres::Error>> {
    let connecting = config.connect(tls.connector());
    let Some(limit) = config.get_connect_timeout() else {
        return Ok(connecting.await);
    };
    let hosts = u32::try_from(config.get_hosts().len())?;
    let connected = tokio::time::timeout(*limit * hosts, connecting).await;
    connected.map_err(|_| format!("cannot connect to {}: timeout", address(config)).into())
}

/// The servers, for messages.
fn address(config: &Config) -> String {
    let port = |i: usize| {
        let ports = config.get_ports();
        ports.get(i).or(ports.first()).copied().unwrap_or(5432)
    };
    let hosts = config.get_hosts().iter().enumerate();
    let hosts = hosts.map(|(i, host)| match host {
        Host::Tcp(host) => format!("{host}:{}", port(i)),
        #[cfg(unix)]
        Host::Unix(directory) => format!("{}/.s.PGSQL.{}", directory.display(), port(i)),
    });
    hosts.collect::<Vec<_>>().join(", ")
}
