use std::sync::atomic::{AtomicU64, Ordering};

use diesel_async::{AsyncConnection, AsyncPgConnection};

use super::*;

const STATE: &str = "SELECT concat_ws(' ', position, passed, recorded, finished_at IS NOT NULL) FROM threadline.baselines ORDER BY as_of DESC LIMIT 1";
const ACTIONS: &str = "SELECT string_agg(concat_ws(' ', actor_ref ->> 'id', reason, meta -> 'changes'), ', ' ORDER BY id) FROM threadline.audit_actions";

/// Stopped, it goes on where it was; finished, it does nothing. All of it is one action.
#[test]
fn goes_on() {
    let (_database, mut conn) = database(USERS);
    let first = baseline("users")
        .batch_size(2)
        .max_batches(1)
        .run(&mut conn)
        .unwrap();
    assert_eq!(
        (first.passed, first.recorded, first.finished),
        (2, 2, false)
    );
    assert_eq!(
        text(&mut conn, STATE).as_deref(),
        Some(r#"{"id": 2} 2 2 f"#)
    );

    let told = std::sync::Mutex::new(Vec::new());
    let second = baseline("users")
        .batch_size(2)
        .progress(|progress| told.lock().unwrap().push(progress.done))
        .run(&mut conn)
        .unwrap();
    assert_eq!(
        (second.passed, second.recorded, second.finished),
        (3, 3, true)
    );
    assert_eq!(second.action_id, first.action_id);
    assert_eq!(told.into_inner().unwrap(), [4, 5]);

    let third = record(&mut conn, "users");
    assert_eq!(
        (third.passed, third.recorded, third.action_id),
        (0, 0, first.action_id)
    );
    assert_eq!(
        text(&mut conn, ACTIONS).as_deref(),
        Some("ops the auditors ask for it 5")
    );
    assert_eq!(
        text(
            &mut conn,
            "SELECT count(*) FROM threadline.audit_transactions"
        )
        .as_deref(),
        Some("3")
    );
    assert_eq!(
        text(
            &mut conn,
            "SELECT bool_and(actor_ref ->> 'id' = 'ops') FROM threadline.audit_transactions"
        )
        .as_deref(),
        Some("true")
    );
}

/// A batch that does not commit leaves nothing, not even a position.
#[test]
fn killed() {
    let (_database, mut conn) = database(USERS);
    let step = "SELECT threadline.baseline_step('users', '{\"type\": \"user\", \"id\": \"ops\"}', 'why', 2)";
    run(&mut conn, step);
    let before = text(&mut conn, STATE);
    run(&mut conn, &format!("BEGIN; {step}; ROLLBACK"));
    assert_eq!(text(&mut conn, STATE), before);
    assert_eq!(record(&mut conn, "users").recorded, 3);
    assert_eq!(ops(&mut conn, "public.users").len(), 5);
}

/// Who goes on with what another began is told by an action of their own, and the setting of the caller stays what it was.
#[test]
fn another_actor() {
    let (_database, mut conn) = database(USERS);
    baseline("users")
        .batch_size(2)
        .max_batches(1)
        .run(&mut conn)
        .unwrap();
    run(
        &mut conn,
        r#"BEGIN; SET LOCAL threadline.actor_ref = '{"type": "user", "id": "eve"}';
           SELECT threadline.baseline_step('users', NULL, 'mine', 2), threadline.baseline_step('users', '{"type": "job", "id": "nightly"}', 'mine', 2);
           INSERT INTO users VALUES (6, 'six'); COMMIT"#,
    );
    assert_eq!(
        text(&mut conn, ACTIONS).as_deref(),
        Some("ops the auditors ask for it 2, eve mine 2, nightly mine 1")
    );
    let actors = "SELECT string_agg(actor_ref ->> 'id', ' ' ORDER BY id) FROM threadline.changes";
    assert_eq!(
        text(&mut conn, actors).as_deref(),
        Some("ops ops eve eve nightly eve")
    );
}

/// Where the history begins anew, so does a baseline; where only the key is called something else, what is recorded counts.
#[test]
fn begins_anew() {
    let (_database, mut conn) = database(USERS);
    let first = record(&mut conn, "users");
    run(
        &mut conn,
        "SELECT threadline.unaudit_table('users'); UPDATE users SET name = 'unseen' WHERE id = 1; SELECT threadline.audit_table('users')",
    );
    let again = baseline("users")
        .batch_size(2)
        .max_batches(1)
        .run(&mut conn)
        .unwrap();
    assert!(again.as_of > first.as_of);
    assert_eq!(again.recorded, 2);

    run(
        &mut conn,
        "ALTER TABLE users RENAME id TO number; SELECT threadline.refresh_audited_tables()",
    );
    let renamed = record(&mut conn, "users");
    assert_eq!(
        (renamed.as_of, renamed.passed, renamed.recorded),
        (again.as_of, 5, 3)
    );

    run(
        &mut conn,
        "UPDATE users SET name = 'seen' WHERE number = 2; UPDATE threadline.audited_tables SET purged_before = clock_timestamp()",
    );
    let purged = record(&mut conn, "users");
    assert_eq!(
        (purged.passed, purged.recorded),
        (5, 5),
        "what was before the horizon does not count"
    );
    assert_eq!(
        text(&mut conn, "SELECT count(*) FROM threadline.baselines").as_deref(),
        Some("3")
    );
}

/// The same on an asynchronous connection.
#[tokio::test]
async fn asynchronous() {
    let (database, mut sync_conn) = database(USERS);
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let passed = AtomicU64::new(0);
    let done = baseline("users")
        .batch_size(2)
        .pause(std::time::Duration::from_millis(1))
        .progress(|progress| passed.store(progress.done, Ordering::Relaxed))
        .run(&mut conn)
        .await
        .unwrap();
    assert_eq!(
        (done.recorded, done.finished, passed.into_inner()),
        (5, true, 5)
    );
    let again = baseline("users").run(&mut conn).await.unwrap();
    assert_eq!((again.recorded, again.finished), (0, true));
    assert_eq!(ops(&mut sync_conn, "public.users").len(), 5);
    let error = threadline::baseline("users")
        .reason("why")
        .run(&mut conn)
        .await
        .unwrap_err();
    assert!(
        matches!(error, threadline::Error::MissingActor),
        "{error:?}"
    );
}
