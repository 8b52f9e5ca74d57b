//! A purge beside readers, writers, and another purge.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diesel_async::{AsyncConnection, AsyncPgConnection};
use threadline::{Error, purge};

use super::a_year;
use crate::common::{count, error, run, text};

/// A snapshot from before the purge is told that what it would read is gone, and does not take what is left for all there was.
#[test]
fn old_snapshots() {
    let (database, mut conn) = a_year(2_000);
    run(&mut conn, "SELECT threadline.set_retention('90 days')");
    let mut reader = database.connect();
    run(
        &mut reader,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users",
    );
    assert!(purge().run(&mut conn).unwrap().dropped.len() > 7);
    let long_ago =
        "SELECT count(*) FROM threadline.as_of(NULL::posts, now() - interval '200 days')";
    assert!(error(&mut reader, long_ago).contains("the audit log was purged while it was read"));
    run(&mut reader, "ROLLBACK");
    assert!(error(&mut reader, long_ago).contains("its history begins at"));
}

/// Whoever has read the audit log keeps its partitions, and the purge goes by without waiting for ever.
#[test]
fn readers_keep_what_they_read() {
    let (database, mut conn) = a_year(2_000);
    run(&mut conn, "SELECT threadline.set_retention('90 days')");
    let mut reader = database.connect();
    let long_ago =
        "SELECT count(*) FROM threadline.as_of(NULL::posts, now() - interval '200 days')";
    run(&mut reader, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    let before = text(&mut reader, long_ago);
    let step = "SELECT step FROM threadline.purge_step(NULL, '{\"type\":\"system\",\"id\":\"x\"}', 'y', patience => '0.3 s')";
    assert_eq!(text(&mut conn, step).as_deref(), Some("postponed"));
    assert_eq!(text(&mut reader, long_ago), before);
    run(&mut reader, "COMMIT");
    assert_eq!(text(&mut conn, step).as_deref(), Some("dropped"));
}

/// Two at a time: the second waits for the step of the first, and fails if it goes on.
#[test]
fn one_at_a_time() {
    let (database, mut conn) = a_year(2_000);
    run(
        &mut conn,
        "SELECT threadline.set_retention('90 days', 'users')",
    );
    let step = "SELECT step FROM threadline.purge_step(NULL, '{\"type\":\"system\",\"id\":\"x\"}', 'y', 10, patience => '0.2 s')";
    let mut other = database.connect();
    run(&mut other, "BEGIN");
    assert_eq!(text(&mut other, step).as_deref(), Some("deleted"));
    assert!(error(&mut conn, step).contains("another purge or redaction is running"));
    run(&mut other, "COMMIT");
    assert_eq!(text(&mut conn, step).as_deref(), Some("deleted"));
}

/// Once a hold is placed nothing of it goes: it waits for the step that is under way, and steps wait for it.
#[test]
fn holds_beside_a_purge() {
    let (database, mut conn) = a_year(2_000);
    run(
        &mut conn,
        "SELECT threadline.set_retention('90 days', 'users')",
    );
    let step = "SELECT step FROM threadline.purge_step(NULL, '{\"type\":\"system\",\"id\":\"x\"}', 'y', 10, patience => '0.2 s')";
    let place = "SELECT threadline.place_hold('case 12', 'users')";
    let mut counsel = database.connect();
    run(&mut conn, "BEGIN");
    assert_eq!(text(&mut conn, step).as_deref(), Some("deleted"));
    run(
        &mut counsel,
        "BEGIN; SELECT set_config('threadline.actor_ref', '{\"type\":\"user\",\"id\":\"1\"}', true); SAVEPOINT s; SET LOCAL lock_timeout = '100 ms'",
    );
    assert!(error(&mut counsel, place).contains("lock timeout"));
    run(&mut conn, "COMMIT");
    run(&mut counsel, "ROLLBACK TO s");
    run(&mut counsel, place);
    assert!(error(&mut conn, step).contains("a policy or a hold is being changed"));
    run(&mut counsel, "COMMIT");
    assert_eq!(text(&mut conn, step).as_deref(), Some("done"));
}

/// Writers go on: none fails, none is lost, and none waits for as long as a purge takes.
#[test]
fn writers_go_on() {
    for policies in [
        "SELECT threadline.set_retention('30 days')",
        "SELECT threadline.set_retention('30 days', 'posts')",
    ] {
        let (database, mut conn) = a_year(50_000);
        run(&mut conn, policies);
        let stop = AtomicBool::new(false);
        let (slowest, written) = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut conn = database.connect();
                let (mut slowest, mut written) = (Duration::ZERO, 0);
                while !stop.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    run(
                        &mut conn,
                        "UPDATE users SET visits = visits + 1 WHERE id = 5",
                    );
                    slowest = slowest.max(start.elapsed());
                    written += 1;
                }
                (slowest, written)
            });
            let purged = purge().pause(Duration::from_millis(1)).run(&mut conn);
            stop.store(true, Ordering::Relaxed);
            let purged = purged.unwrap();
            assert!(
                purged.finished && purged.postponed.is_empty() && purged.changes > 10_000,
                "{purged:?}"
            );
            writer.join().unwrap()
        });
        let recorded = count(
            &mut conn,
            "threadline.changes WHERE row_key = '5' AND captured_at > now() - interval '1 hour'",
        );
        assert_eq!(recorded, written);
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    }
}

/// The asynchronous twin does the same.
#[tokio::test]
async fn asynchronous() {
    let (database, mut conn) = a_year(2_000);
    run(&mut conn, "SELECT threadline.set_retention('90 days')");
    let mut asynchronous = AsyncPgConnection::establish(database.url()).await.unwrap();
    let mut told = 0;
    let purged = purge()
        .actor(threadline::ActorRef::admin("7"))
        .reason("by hand")
        .progress(|_| told += 1)
        .run(&mut asynchronous)
        .await
        .unwrap();
    assert!(purged.finished && purged.dropped.len() > 7 && told > 8);
    let action = "SELECT concat_ws(' ', a.actor_ref ->> 'id', a.reason, t.actor_ref ->> 'id', a.id) FROM threadline.audit_actions AS a
        JOIN threadline.audit_transactions AS t ON t.id = a.transaction_id WHERE a.name = 'threadline.purge'";
    let id = purged.action_id.unwrap();
    assert_eq!(text(&mut conn, action), Some(format!("7 by hand 7 {id}")));

    let refused = asynchronous
        .transaction(async |conn| {
            let refused = purge().run(conn).await;
            assert!(matches!(refused, Err(Error::Refused { .. })));
            diesel::QueryResult::Ok(())
        })
        .await;
    refused.unwrap();
}

/// Whoever holds the definition of a table keeps a purge waiting, which keeps nobody waiting meanwhile.
#[test]
fn definitions_beside_a_purge() {
    let (database, mut conn) = a_year(2_000);
    run(&mut conn, "SELECT threadline.set_retention('90 days')");
    let mut other = database.connect();
    run(
        &mut other,
        "BEGIN; SELECT FROM threadline.audited_tables FOR UPDATE",
    );
    let slowest = thread::scope(|scope| {
        let purge = scope.spawn(|| {
            let mut conn = database.connect();
            let step = "SELECT step FROM threadline.purge_step(NULL, '{\"type\":\"system\",\"id\":\"x\"}', 'y', patience => '0.5 s')";
            text(&mut conn, step)
        });
        let mut slowest = Duration::ZERO;
        while !purge.is_finished() {
            let start = Instant::now();
            run(
                &mut conn,
                "UPDATE users SET visits = visits + 1 WHERE id = 5",
            );
            slowest = slowest.max(start.elapsed());
        }
        assert_eq!(purge.join().unwrap().as_deref(), Some("postponed"));
        slowest
    });
    assert!(slowest < Duration::from_millis(400), "{slowest:?}");
}
