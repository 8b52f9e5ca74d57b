//! What a legal hold is of stays, and so does nothing else.

use diesel::prelude::*;

use super::{a_year, purge_as_planned};
use crate::common::{count, run, text};

const ACTOR: &str = r#"'{"type":"admin","id":"counsel"}'"#;

fn hold(conn: &mut PgConnection, arguments: &str) {
    run(
        conn,
        &format!(
            "BEGIN; SELECT set_config('threadline.actor_ref', {ACTOR}, true); SELECT threadline.place_hold('case 12', {arguments}); COMMIT"
        ),
    );
}

/// A row, an actor in the transaction, whom it was done for, and an actor of a nested context: each is kept, with its transaction; all
/// else that is old goes.
#[test]
fn rows_and_actors() {
    let (_database, mut conn) = a_year(10_000);
    run(
        &mut conn,
        r#"SELECT threadline.set_retention('60 days');
         UPDATE threadline.audit_transactions SET on_behalf_of = '{"type":"user","id":"principal"}'
          WHERE id IN (SELECT id FROM threadline.audit_transactions ORDER BY id OFFSET 100 LIMIT 3);
         UPDATE threadline.audit_changes SET context = '{"actor_ref": {"type":"user","id":"nested"}, "on_behalf_of": {"type":"user","id":"7"}}'
          WHERE id IN (SELECT id FROM threadline.audit_changes ORDER BY id OFFSET 2000 LIMIT 4);"#,
    );
    for arguments in [
        "'posts', '2'",
        r#"actor_ref => '{"type":"user","id":"1"}'"#,
        r#"actor_ref => '{"type":"user","id":"principal"}'"#,
        r#"actor_ref => '{"type":"user","id":"nested"}'"#,
    ] {
        hold(&mut conn, arguments);
    }
    let held = r#"threadline.changes WHERE captured_at < (SELECT max(retention_cutoff) FROM threadline_internal.retention_cutoffs())
        AND (table_name = 'posts' AND row_key = '2' OR actor_ref IN ('{"type":"user","id":"1"}', '{"type":"user","id":"nested"}') OR on_behalf_of = '{"type":"user","id":"principal"}')"#;
    let old = "threadline.audit_changes WHERE captured_at < (SELECT max(retention_cutoff) FROM threadline_internal.retention_cutoffs())";
    let ids = format!("SELECT array_agg(id ORDER BY id) FROM {held}");
    let before = text(&mut conn, &ids).unwrap();
    let (kept, all) = (count(&mut conn, held), count(&mut conn, old));
    assert!(kept > 100 && all > 7_000, "{kept} of {all}");

    let (plan, purged) = purge_as_planned(&mut conn);
    assert!(plan.iter().any(|part| !part.is_dropped && part.kept > 0));
    assert_eq!(purged.changes, (all - kept).unsigned_abs());
    assert_eq!(text(&mut conn, &ids).unwrap(), before);
    assert_eq!(count(&mut conn, old), kept);

    // Released, and told; the next purge takes the rest.
    run(
        &mut conn,
        &format!(
            "BEGIN; SELECT set_config('threadline.actor_ref', {ACTOR}, true); SELECT threadline.release_hold(id, 'closed') FROM threadline.legal_holds; COMMIT"
        ),
    );
    let (plan, _) = purge_as_planned(&mut conn);
    assert!(plan.iter().all(|part| part.is_dropped));
    assert_eq!(count(&mut conn, old), 0);
    let told = "SELECT string_agg(concat_ws(' ', name, actor_ref ->> 'id', reason, meta ->> 'table', meta ->> 'row_key', meta #>> '{actor_ref,id}', meta ->> 'placed_for'), ', ' ORDER BY occurred_at, id)
        FROM threadline.audit_actions WHERE meta ->> 'hold' IN ('1', '2')";
    assert_eq!(
        text(&mut conn, told).as_deref(),
        Some(
            "threadline.hold_placed counsel case 12 public.posts 2, threadline.hold_placed counsel case 12 1, \
             threadline.hold_released counsel closed public.posts 2 case 12, threadline.hold_released counsel closed 1 case 12"
        )
    );
}

/// A table that is held as a whole keeps its months from being dropped, while those of the other go in batches.
#[test]
fn a_table() {
    let (_database, mut conn) = a_year(5_000);
    run(&mut conn, "SELECT threadline.set_retention('60 days')");
    hold(&mut conn, "'users'");
    let users = count(&mut conn, "threadline.changes WHERE table_name = 'users'");
    let (plan, _) = purge_as_planned(&mut conn);
    assert!(
        plan.iter()
            .all(|part| !part.is_dropped && part.table_name == "posts")
    );
    assert_eq!(
        count(&mut conn, "threadline.changes WHERE table_name = 'users'"),
        users
    );
}

/// What is held is not redacted either, as a row, as a table, or by its actor; other rows are.
#[test]
fn redactions() {
    let (_database, mut conn) = crate::common::database(
        r#"CREATE TABLE users (id integer PRIMARY KEY, name text); SELECT threadline.audit_table('users');
         INSERT INTO users VALUES (1, 'Ada'), (2, 'Grace');
         BEGIN; SELECT set_config('threadline.actor_ref', '{"type":"user","id":"9"}', true); INSERT INTO users VALUES (3, 'Linus'); COMMIT"#,
    );
    let redact = |conn: &mut PgConnection, key: i32| {
        let redaction = || {
            threadline::redact("users")
                .keys([key])
                .mask(["name"])
                .actor(threadline::ActorRef::user("dpo"))
                .reason("erasure request 12")
        };
        let planned = redaction().plan(conn);
        let redacted = redaction().run(conn);
        match (planned, redacted) {
            (Ok(_), Ok(redacted)) => Ok(redacted.changes),
            (
                Err(threadline::Error::Refused { message, .. }),
                Err(threadline::Error::Refused { message: same, .. }),
            ) if message == same => Err(message),
            other => panic!("{other:?}"),
        }
    };
    hold(&mut conn, "'users', '1'");
    hold(&mut conn, r#"actor_ref => '{"type":"user","id":"9"}'"#);
    let held = "what is recorded of these rows of public.users is held: case 12";
    assert_eq!(redact(&mut conn, 1), Err(held.to_owned()));
    assert_eq!(redact(&mut conn, 3), Err(held.to_owned()));
    assert_eq!(redact(&mut conn, 2), Ok(1));
    run(&mut conn, "DELETE FROM threadline.legal_holds");
    hold(&mut conn, "'users'");
    assert_eq!(redact(&mut conn, 2), Err(held.to_owned()));
    run(&mut conn, "DELETE FROM threadline.legal_holds");
    assert_eq!((redact(&mut conn, 1), redact(&mut conn, 3)), (Ok(1), Ok(1)));
}

/// A hold of a row goes by its key, so the key is not defined anew under it; and no other spelling of it gets round it.
#[test]
fn keys() {
    let (_database, mut conn) = crate::common::database(
        "CREATE TABLE users (id integer PRIMARY KEY, tenant integer NOT NULL DEFAULT 1, name text); SELECT threadline.audit_table('users');
         INSERT INTO users VALUES (7, 1, 'Ada')",
    );
    hold(&mut conn, "'users', '7'");
    let redaction = threadline::redact("users").keys(["007"]).mask(["name"]);
    let redaction = redaction
        .actor(threadline::ActorRef::user("dpo"))
        .reason("erasure request 12");
    let refused = redaction.run(&mut conn).unwrap_err().to_string();
    assert!(refused.contains("is held"), "{refused}");
    let again = "ALTER TABLE users DROP CONSTRAINT users_pkey, ADD PRIMARY KEY (tenant, id); SELECT threadline.audit_table('users')";
    let refused = crate::common::error(&mut conn, again);
    assert!(
        refused.contains("rows of it are under legal hold by the primary key that it had"),
        "{refused}"
    );
    run(&mut conn, "DELETE FROM threadline.legal_holds");
    run(&mut conn, again);
}

/// Whoever would not see a hold that is placed meanwhile is refused.
#[test]
fn isolation() {
    let (_database, mut conn) = a_year(2_000);
    run(
        &mut conn,
        "SELECT threadline.set_retention('90 days'); SET default_transaction_isolation = 'repeatable read'",
    );
    let refused = [
        threadline::purge().run(&mut conn).map(drop),
        threadline::redact("users")
            .keys([5])
            .mask(["name"])
            .actor(threadline::ActorRef::user("dpo"))
            .reason("erasure request 12")
            .run(&mut conn)
            .map(drop),
    ];
    for refused in refused {
        let message = format!("{:?}", refused.unwrap_err());
        assert!(
            message.contains("at the isolation level repeatable read"),
            "{message}"
        );
    }
}

/// A held actor keeps the transactions, too, whose changes were all of another; and changes from before their transaction began.
#[test]
fn transactions_of_actors() {
    let (_database, mut conn) = a_year(2_000);
    run(
        &mut conn,
        r#"SELECT threadline.set_retention('60 days');
         UPDATE threadline.audit_changes AS c SET context = '{"actor_ref": {"type":"user","id":"nested"}}'
          WHERE c.transaction_id = (SELECT id FROM threadline.audit_transactions ORDER BY id OFFSET 20 LIMIT 1);
         UPDATE threadline.audit_transactions SET actor_ref = '{"type":"user","id":"held"}', occurred_at = occurred_at + interval '10 ms'
          WHERE id IN (SELECT id FROM threadline.audit_transactions ORDER BY id OFFSET 20 LIMIT 2)"#,
    );
    hold(&mut conn, r#"actor_ref => '{"type":"user","id":"held"}'"#);
    threadline::purge().run(&mut conn).unwrap();
    let held = r#"threadline.audit_transactions WHERE actor_ref = '{"type":"user","id":"held"}'"#;
    assert_eq!(count(&mut conn, held), 2);
    let changes = r#"threadline.changes WHERE actor_ref = '{"type":"user","id":"held"}'"#;
    assert_eq!(count(&mut conn, changes), 10);
}
