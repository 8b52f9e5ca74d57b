//! Through a PgBouncer in transaction mode, where neighbours share server connections: everyone's changes carry their
//! own actor, and nothing is left on a server connection. `docs/pgbouncer.md` has the settings that this relies on.

mod clients;
mod many_clients;
mod one_client;
mod plan;
mod prepared_statements;

use diesel::connection::CacheSize;
use diesel::prelude::*;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use threadline_test_support::PgBouncer;
use tokio_postgres::NoTls;

/// A connection that makes no use of what this PgBouncer does not know.
fn connect(pgbouncer: &PgBouncer) -> PgConnection {
    let mut conn = PgConnection::establish(pgbouncer.url()).expect("a connection");
    if !pgbouncer.knows_prepared_statements() {
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    }
    conn
}

/// The same out of a pool of one connection.
fn pool(pgbouncer: &PgBouncer) -> Pool<AsyncPgConnection> {
    let mut config = ManagerConfig::default();
    if !pgbouncer.knows_prepared_statements() {
        config.custom_setup = Box::new(|url| Box::pin(establish_in_transaction(url.to_owned())));
        // To ask for more would be a prepared statement outside a transaction.
        config.recycling_method = RecyclingMethod::Fast;
    }
    let manager = AsyncDieselConnectionManager::new_with_config(pgbouncer.url(), config);
    let pool = Pool::builder(manager).max_size(1).build();
    pool.expect("a pool of one kind of connection")
}

/// A new connection prepares two statements. In a transaction they are run on the server connection that has them.
async fn establish_in_transaction(url: String) -> ConnectionResult<AsyncPgConnection> {
    let bad = |error: tokio_postgres::Error| ConnectionError::BadConnection(error.to_string());
    let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await.map_err(bad)?;
    tokio::select! {
        begun = client.batch_execute("BEGIN") => begun.map_err(bad)?,
        ended = &mut connection => {
            ended.map_err(bad)?;
            return Err(ConnectionError::BadConnection("closed at once".to_owned()));
        }
    }
    let mut conn = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
    conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    conn.batch_execute("COMMIT")
        .await
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}
