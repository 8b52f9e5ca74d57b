//! What one client does through a pooler, and what the next one finds.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::thread::{self, ScopedJoinHandle};

use diesel::prelude::*;
use diesel::result::Error;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use threadline::prelude::*;
use threadline_test_support::{PgBouncer, needs};

use super::{connect, pool};
use crate::common::{changes, database, run, text};
use crate::context::ACCOUNTS;

const SERVER_CONNECTIONS: usize = 3;

const INSERT: &str = "INSERT INTO accounts SELECT count(*) + 1, 0 FROM accounts";

fn ada() -> AuditContext {
    AuditContext::new(ActorRef::user("ada")).correlation_id("c-1")
}

/// Uses all server connections at the same time, and returns what `work` gave on each.
fn on_each_server_connection<T: Send>(
    pgbouncer: &PgBouncer,
    work: impl Fn(&mut PgConnection, &Barrier) -> T + Sync,
) -> Vec<T> {
    let barrier = Barrier::new(SERVER_CONNECTIONS);
    thread::scope(|scope| {
        let one = || work(&mut connect(pgbouncer), &barrier);
        let threads: Vec<_> = (0..SERVER_CONNECTIONS).map(|_| scope.spawn(one)).collect();
        let results = threads.into_iter().map(ScopedJoinHandle::join);
        results.map(Result::unwrap).collect()
    })
}

/// The process of each server connection, with the settings of Threadline that are not empty there.
fn left(pgbouncer: &PgBouncer) -> Vec<(String, String)> {
    const SETTINGS: &str = "
        SELECT string_agg(name || '=' || current_setting('threadline.' || name, true), ' ')
          FROM unnest('{actor_ref,context,outer_context,entered,entered_with}'::text[]) AS name
         WHERE current_setting('threadline.' || name, true) <> ''";
    let mut left = on_each_server_connection(pgbouncer, |conn, barrier| {
        conn.transaction(|conn| {
            let process = text(conn, "pg_backend_pid()").unwrap();
            barrier.wait();
            QueryResult::Ok((
                process,
                text(conn, &format!("({SETTINGS})")).unwrap_or_default(),
            ))
        })
        .unwrap()
    });
    left.sort();
    left.dedup();
    left
}

#[track_caller]
fn assert_nothing_left(pgbouncer: &PgBouncer) -> Vec<String> {
    let (processes, left): (Vec<_>, Vec<_>) = left(pgbouncer).into_iter().unzip();
    assert_eq!(
        left, [""; SERVER_CONNECTIONS],
        "each server connection once, with nothing"
    );
    processes
}

/// After commits, errors and panics nothing of a context is left on any server connection, and all are kept.
#[needs(pgbouncer)]
#[test]
fn nothing_is_left() {
    let (database, mut admin) = database(ACCOUNTS);
    let pgbouncer = &database.pgbouncer(SERVER_CONNECTIONS);
    let processes = assert_nothing_left(pgbouncer);
    for ending in ["commit", "error", "failing statement", "panic"] {
        on_each_server_connection(pgbouncer, |conn, barrier| {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                conn.audited_transaction(&ada(), |conn| {
                    run(conn, "DELETE FROM accounts WHERE id < 0");
                    run(
                        conn,
                        &format!(
                            "INSERT INTO accounts VALUES (pg_backend_pid() + {}, 0)",
                            ending.len() * 10_000_000
                        ),
                    );
                    assert_ne!(
                        text(conn, "current_setting('threadline.entered')").unwrap(),
                        ""
                    );
                    barrier.wait();
                    match ending {
                        "commit" => Ok(()),
                        "error" => Err(Error::RollbackTransaction),
                        "panic" => std::panic::resume_unwind(Box::new("as planned")),
                        _ => diesel::sql_query("SELECT 1 / 0").execute(conn).map(drop),
                    }
                })
            }));
        });
        assert_eq!(assert_nothing_left(pgbouncer), processes, "after {ending}");
    }
    assert_eq!(
        changes(&mut admin, "public.accounts").len(),
        SERVER_CONNECTIONS,
        "of the commits"
    );
}

/// A transaction that is dropped takes its server connection with it, and its context.
#[needs(pgbouncer)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_cancelled_transaction() {
    let (database, mut admin) = database(ACCOUNTS);
    let pgbouncer = &database.pgbouncer(SERVER_CONNECTIONS);
    let processes = assert_nothing_left(pgbouncer);
    let pool = pool(pgbouncer);
    let mut conn = pool.get().await.unwrap();
    let (changed, has_changed) = tokio::sync::oneshot::channel();
    let ctx = ada();
    let cancelled = conn.audited_transaction(&ctx, async |conn| -> QueryResult<()> {
        conn.batch_execute(INSERT).await?;
        changed.send(()).expect("someone waits");
        pending().await
    });
    tokio::select! {
        result = cancelled => panic!("it ended by itself: {result:?}"),
        result = has_changed => result.unwrap(),
    }
    drop(conn);
    // The pool makes a new one.
    let mut conn = pool.get().await.unwrap();
    conn.transaction(async |conn| conn.batch_execute(INSERT).await)
        .await
        .unwrap();
    let now = assert_nothing_left(pgbouncer);
    let kept = now
        .iter()
        .filter(|process| processes.contains(process))
        .count();
    assert_eq!(kept, SERVER_CONNECTIONS - 1);
    let rows = changes(&mut admin, "public.accounts");
    let actors: Vec<_> = rows.iter().map(|row| &row.actor_ref).collect();
    assert_eq!(actors, [&None]);
}

/// What the audit log holds of each change, and the group that the client was told of.
fn told(admin: &mut PgConnection, id: Option<uuid::Uuid>) -> Vec<String> {
    let id = id.expect("something has changed");
    let rows = changes(admin, "public.accounts");
    let of_group = rows.iter().filter(|row| row.transaction_id == id);
    of_group
        .map(|row| {
            row.actor_ref
                .as_ref()
                .map_or("nobody".to_owned(), |actor| actor["id"].to_string())
        })
        .collect()
}

/// `set_audit_context` and `audit_transaction_id` work in transactions through a pooler.
#[needs(pgbouncer)]
#[test]
fn in_a_transaction_of_ones_own() {
    let (database, mut admin) = database(ACCOUNTS);
    let pgbouncer = database.pgbouncer(1);
    let mut conn = connect(&pgbouncer);
    let outside = conn.set_audit_context(&ada());
    assert!(
        matches!(outside, Err(Error::NotInTransaction)),
        "{outside:?}"
    );
    let id = conn.transaction(|conn| {
        run(conn, INSERT);
        conn.set_audit_context(&ada())?;
        run(conn, INSERT);
        conn.audit_transaction_id()
    });
    assert_eq!(told(&mut admin, id.unwrap()), ["nobody", "\"ada\""]);
    assert_eq!(conn.audit_transaction_id(), Ok(None));
}

/// So do their asynchronous twins.
#[needs(pgbouncer)]
#[tokio::test]
async fn in_an_asynchronous_transaction_of_ones_own() {
    let (database, mut admin) = database(ACCOUNTS);
    let pgbouncer = database.pgbouncer(1);
    let mut conn = pool(&pgbouncer).get().await.unwrap();
    let outside = conn.set_audit_context(&ada()).await;
    assert!(
        matches!(outside, Err(Error::NotInTransaction)),
        "{outside:?}"
    );
    let work = async |conn: &mut AsyncPgConnection| {
        conn.batch_execute(INSERT).await?;
        conn.set_audit_context(&ada()).await?;
        conn.batch_execute(INSERT).await?;
        conn.audit_transaction_id().await
    };
    let conn: &mut AsyncPgConnection = &mut conn;
    let id: QueryResult<_> = conn.transaction(work).await;
    assert_eq!(told(&mut admin, id.unwrap()), ["nobody", "\"ada\""]);
    let id = conn
        .transaction(async |conn| conn.audit_transaction_id().await)
        .await;
    assert_eq!(id, Ok::<_, Error>(None));
}
