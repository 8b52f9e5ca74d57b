//! The asynchronous twin of `context`: the same words on `AsyncPgConnection` and deadpool, and cancellation.

use std::future::poll_fn;
use std::task::Poll;

use diesel::prelude::*;
use diesel::result::Error;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, TransactionManager,
};
use threadline::prelude::*;
use threadline_test_support::Database;

use crate::common::{changes, database};
use crate::context::{ACCOUNTS, Log, last_message};

diesel::table! {
    accounts {
        id -> Int4,
        balance -> Int4,
    }
}

#[derive(Debug, PartialEq, Queryable, Selectable, Audited)]
#[diesel(table_name = accounts)]
struct Account {
    id: i32,
    balance: i32,
}

fn ada() -> AuditContext {
    AuditContext::new(ActorRef::user("ada"))
}

fn bob() -> AuditContext {
    AuditContext::new(ActorRef::admin("bob"))
}

async fn insert(conn: &mut AsyncPgConnection, id: i32) -> QueryResult<usize> {
    diesel::insert_into(accounts::table)
        .values((accounts::id.eq(id), accounts::balance.eq(100)))
        .execute(conn)
        .await
}

fn actors(conn: &mut PgConnection) -> Vec<String> {
    changes(conn, "public.accounts")
        .iter()
        .map(|row| {
            let actor = row
                .actor_ref
                .as_ref()
                .and_then(|actor| actor["id"].as_str());
            format!(
                "{} {}",
                row.row_key.as_deref().unwrap_or("-"),
                actor.unwrap_or("-")
            )
        })
        .collect()
}

fn pool(database: &Database, size: usize) -> Pool<AsyncPgConnection> {
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(database.url());
    Pool::builder(manager)
        .max_size(size)
        .build()
        .expect("a pool of one kind of connection")
}

/// `BEGIN` and the context are one message here, too.
#[tokio::test]
async fn one_round_trip() {
    let (database, mut observer) = database(ACCOUNTS);
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let pid = diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>(
        "pg_backend_pid()",
    ));
    let pid: i32 = RunQueryDsl::get_result(pid, &mut conn).await.unwrap();
    let log = std::sync::Arc::default();
    conn.set_instrumentation(Log(std::sync::Arc::clone(&log)));
    let ctx = ada();
    let begin = conn.audited_transaction(&ctx, async |conn| {
        let begin = last_message(&mut observer, &pid.to_string());
        insert(conn, 1).await.map(|_| begin)
    });
    let begin = begin.await.unwrap();
    assert!(
        begin.starts_with("BEGIN; SET LOCAL threadline.actor_ref = "),
        "{begin}"
    );
    assert_eq!(
        last_message(&mut observer, &pid.to_string()),
        "SELECT; COMMIT"
    );
    let audited = std::mem::take(&mut *log.lock().unwrap());
    conn.transaction(async |conn| insert(conn, 2).await)
        .await
        .unwrap();
    let plain = log.lock().unwrap();
    assert_eq!(
        (audited.len(), plain.len()),
        (3, 3),
        "{audited:#?}\n{plain:#?}"
    );
}

/// As for its twin: work that swallowed an error is not told that it was committed, and the connection goes on.
#[tokio::test]
async fn swallowed_errors() {
    let (database, mut admin) = database(ACCOUNTS);
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let swallowed = conn
        .audited_transaction(&ada(), async |conn| {
            insert(conn, 1).await?;
            let _ = insert(conn, 1).await;
            QueryResult::Ok(())
        })
        .await;
    assert!(
        matches!(swallowed, Err(Error::DatabaseError(..))),
        "{swallowed:?}"
    );
    conn.batch_execute(
        "CREATE TABLE entries (account int REFERENCES accounts DEFERRABLE INITIALLY DEFERRED)",
    )
    .await
    .unwrap();
    let deferred = conn
        .audited_transaction(&ada(), async |conn| {
            conn.batch_execute("INSERT INTO entries VALUES (9)").await
        })
        .await;
    let foreign_key = diesel::result::DatabaseErrorKind::ForeignKeyViolation;
    assert!(
        matches!(&deferred, Err(Error::DatabaseError(kind, _)) if *kind == foreign_key),
        "{deferred:?}"
    );
    conn.audited_transaction(&ada(), async |conn| insert(conn, 2).await)
        .await
        .unwrap();
    assert_eq!(actors(&mut admin), ["2 ada"]);
}

/// A future that is dropped while it commits leaves a connection that counts as broken: nobody knows how it ended.
#[tokio::test]
async fn cancelled_commit() {
    let (database, _admin) = database(ACCOUNTS);
    // Polled once more each time, until the transaction is through.
    for polls in 1.. {
        let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
        let context = ada();
        let mut future = Box::pin(conn.audited_transaction(&context, async |conn| {
            diesel::sql_query("SELECT 1").execute(conn).await
        }));
        let mut left = polls;
        let done = poll_fn(|cx| {
            left -= 1;
            match future.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        drop(future);
        if done.is_some() {
            assert!(polls > 3, "it waits for three answers at least");
            break;
        }
        let broken = <AsyncPgConnection as AsyncConnection>::TransactionManager::is_broken_transaction_manager(&mut conn);
        assert!(broken, "after {polls} polls");
    }
}

/// Far from where the context is known, a transaction takes that of the scope; and each task has its own, whatever runs
/// in between on the same thread.
#[tokio::test]
async fn ambient() {
    let (database, mut admin) = database(ACCOUNTS);
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let refused = conn.audited(async |_| QueryResult::Ok(())).await;
    assert!(
        matches!(refused, Err(Error::QueryBuilderError(_))),
        "{refused:?}"
    );
    let url = database.url();
    let request = async |ctx: AuditContext, ids: std::ops::Range<i32>| {
        let mut conn = AsyncPgConnection::establish(url).await.unwrap();
        ctx.scope(async {
            for id in ids {
                conn.audited(async |conn| insert(conn, id).await)
                    .await
                    .unwrap();
            }
        })
        .await;
    };
    tokio::join!(request(ada(), 1..5), request(bob(), 5..9));

    // A task that is spawned has the scope only if it is taken along.
    let spawned = ada().scope(async {
        let lost = tokio::spawn(async { AuditContext::current() });
        let kept = tokio::spawn(AuditContext::in_current_scope(async {
            AuditContext::current()
        }));
        (lost.await.unwrap(), kept.await.unwrap())
    });
    assert_eq!(spawned.await, (None, Some(ada())));
    let mut whose = actors(&mut admin);
    whose.sort();
    let expected = |ids: std::ops::Range<i32>, who: &str| {
        ids.map(|id| format!("{id} {who}")).collect::<Vec<_>>()
    };
    assert_eq!(
        whose,
        [expected(1..5, "ada"), expected(5..9, "bob")].concat()
    );
}

/// Whether a transaction is open, and what the actor is, as the server sees them.
async fn state(conn: &mut AsyncPgConnection) -> (bool, Option<String>) {
    async fn text(conn: &mut AsyncPgConnection, sql: &str) -> Option<String> {
        let value = diesel::dsl::sql::<diesel::sql_types::Nullable<diesel::sql_types::Text>>(sql);
        diesel::select(value)
            .get_result(conn)
            .await
            .expect("the connection works")
    }
    // In a transaction the time stands still.
    let times = [
        text(conn, "now()::text").await,
        text(conn, "now()::text").await,
    ];
    let actor = text(
        conn,
        "nullif(current_setting('threadline.actor_ref', true), '')",
    )
    .await;
    (times[0] == times[1], actor)
}

/// Install, write and read read the same as in sync, on a plain connection, a pooled one, and in a spawned task.
#[tokio::test]
async fn same_words() {
    let (database, mut admin) =
        database("CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL)");
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    threadline::capture::install(&mut conn, &[Account::audit_spec()])
        .await
        .unwrap();
    let ids = [1, 2];
    let id = conn
        .audited_transaction(&ada(), async |conn| {
            insert(conn, ids[0]).await?;
            conn.audit_transaction_id().await
        })
        .await
        .unwrap();
    assert!(id.is_some());

    let pool = pool(&database, 1);
    let task = tokio::spawn(async move {
        let mut conn = pool.get().await.expect("a connection");
        threadline::capture::install(&mut *conn, &[Account::audit_spec()])
            .await
            .unwrap();
        conn.audited_transaction(&bob(), async |conn| insert(conn, ids[1]).await)
            .await?;
        Account::history(2)
            .filter(accounts::balance.eq(100))
            .limit(1)
            .load::<Version<Account>>(&mut conn)
            .await
    });
    let versions = task.await.unwrap().unwrap();
    assert_eq!(
        versions[0].row,
        Account {
            id: 2,
            balance: 100
        }
    );
    assert_eq!(versions[0].actor, Some(ActorRef::admin("bob")));
    assert_eq!(actors(&mut admin), ["1 ada", "2 bob"]);
}

/// Nested calls carry their own actor, and the outer one is back afterwards on both outcomes.
#[tokio::test]
async fn nested_actors() {
    let (database, mut admin) = database(ACCOUNTS);
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    conn.audited_transaction(&ada(), async |conn| {
        conn.audited_transaction(&bob(), async |conn| insert(conn, 1).await)
            .await?;
        insert(conn, 2).await?;
        let failed: QueryResult<()> = conn
            .audited_transaction(&bob(), async |conn| {
                insert(conn, 3).await?;
                Err(Error::RollbackTransaction)
            })
            .await;
        assert_eq!(failed, Err(Error::RollbackTransaction));
        insert(conn, 4).await
    })
    .await
    .unwrap();
    assert_eq!(actors(&mut admin), ["1 bob", "2 ada", "4 ada"]);
    assert_eq!(state(&mut conn).await, (false, None));
}

/// Dropped at whatever point, an audited transaction commits nothing or everything, and the pool hands out neither
/// its transaction nor its actor.
#[tokio::test]
async fn cancellation() {
    let (database, mut admin) = database(ACCOUNTS);
    let pool = pool(&database, 1);
    let mut expected = Vec::new();
    for polls in 1.. {
        let mut conn = pool.get().await.unwrap();
        let finished = {
            let ctx = ada();
            let mut future = Box::pin(conn.audited_transaction(&ctx, async |conn| {
                insert(conn, polls * 10).await?;
                conn.audited_transaction(&bob(), async |conn| insert(conn, polls * 10 + 1).await)
                    .await?;
                insert(conn, polls * 10 + 2).await
            }));
            let mut left = polls;
            poll_fn(|cx| {
                left -= 1;
                match future.as_mut().poll(cx) {
                    Poll::Ready(result) => Poll::Ready(Some(result)),
                    Poll::Pending if left == 0 => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
        };
        drop(conn);
        let mut conn = pool.get().await.unwrap();
        assert_eq!(state(&mut conn).await, (false, None), "after {polls} polls");
        insert(&mut conn, -polls).await.unwrap();
        expected.push(format!("{} -", -polls));
        if let Some(result) = finished {
            result.unwrap();
            assert!(
                polls > 8,
                "only {polls} polls: the test did not cancel where it matters"
            );
            break;
        }
    }
    // COMMIT itself may have been under way: then all three are there, and never a part of them.
    let (attributed, plain): (Vec<_>, Vec<_>) = actors(&mut admin)
        .into_iter()
        .partition(|a| !a.ends_with('-'));
    assert_eq!(plain, expected);
    for group in attributed.chunks(3) {
        let [first, second, third] = group else {
            panic!("torn: {attributed:?}")
        };
        let polls = first.strip_suffix("0 ada").expect("the outer actor");
        assert_eq!(
            (second, third),
            (&format!("{polls}1 bob"), &format!("{polls}2 ada"))
        );
    }
}

/// When only a nested call is dropped, its actor does not get hold of what the outer one does next.
#[tokio::test]
async fn nested_cancellation() {
    let (database, mut admin) = database(ACCOUNTS);
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let result = conn
        .audited_transaction(&ada(), async |conn| {
            insert(conn, 1).await?;
            let ctx = bob();
            let nested = conn.audited_transaction(&ctx, async |conn| {
                insert(conn, 2).await?;
                std::future::pending::<()>().await;
                Ok::<_, Error>(())
            });
            let timeout = tokio::time::timeout(std::time::Duration::from_millis(200), nested).await;
            assert!(timeout.is_err());
            insert(conn, 3).await
        })
        .await;
    assert!(
        matches!(result, Err(Error::BrokenTransactionManager)),
        "{result:?}"
    );
    assert_eq!(state(&mut conn).await, (false, None));
    assert_eq!(actors(&mut admin), [""; 0]);
}

/// A task that panics inside an audited transaction gives its connection up, not back.
#[tokio::test]
async fn panics() {
    let (database, mut admin) = database(ACCOUNTS);
    let pool = pool(&database, 1);
    let task = tokio::spawn({
        let pool = pool.clone();
        async move {
            let mut conn = pool.get().await.unwrap();
            conn.audited_transaction(&ada(), async |conn| -> QueryResult<()> {
                insert(conn, 1).await?;
                panic!("in a transaction")
            })
            .await
        }
    });
    assert!(task.await.unwrap_err().is_panic());
    let mut conn = pool.get().await.unwrap();
    assert_eq!(state(&mut conn).await, (false, None));
    insert(&mut conn, 2).await.unwrap();
    assert_eq!(actors(&mut admin), ["2 -"]);
}
