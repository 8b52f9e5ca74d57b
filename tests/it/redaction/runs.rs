//! What a run does, in how many transactions, and what is told of it.

use std::time::Duration;

use diesel::prelude::*;
use serde_json::{Value, json};
use threadline::{Action, ActorRef, Error, redact};

use super::{PEOPLE, done, images, stored};
use crate::common::{database, run, text};

/// On every op, in both images: the placeholder, NULL or the substitute; that a field changed stays known, and a NULL is masked, too.
#[test]
fn both_images() {
    for granularity in ["row", "statement"] {
        let (_database, mut conn) = database(PEOPLE);
        let again = format!(
            "SELECT threadline.audit_table('people', granularity => '{granularity}'); INSERT INTO people VALUES (9, 'secret', '1900-01-02', 'S', 'secret', '1');
             UPDATE people SET email = 'secret 2' WHERE id = 9; UPDATE people SET id = 8 WHERE id = 9; INSERT INTO people VALUES (9, 'secret', NULL, NULL, NULL, NULL); TRUNCATE people"
        );
        run(&mut conn, &again);
        let fields = "SELECT string_agg(concat(op, changed_fields, captured_at, transaction_id), ' ' ORDER BY id) FROM threadline.changes";
        let known = text(&mut conn, fields);
        let redaction = redact("people")
            .keys([1, 3, 9])
            .mask(["email", "note"])
            .remove(["code", "extra"])
            .substitute("born", "1900-1-1");
        let redacted = done(&mut conn, redaction);
        assert_eq!((redacted.rows, redacted.changes), (3, 3 + 1 + 4 + 5));
        assert_eq!(redacted.moved_keys, ["8"]);
        for key in ["1", "3", "9"] {
            let images = images(&mut conn, key);
            assert!(
                !images.contains("secret") && !images.contains("S-") && !images.contains("18"),
                "{images}"
            );
        }
        let masked = r#"insert {"id": 1, "born": "1900-01-01", "code": null, "note": "[REDACTED]", "email": "[REDACTED]", "extra": null}; update"#;
        assert!(images(&mut conn, "1").starts_with(masked));
        assert!(images(&mut conn, "2").contains("secret again 2"));
        assert_eq!(text(&mut conn, fields), known);
    }
}

/// The action says who, why and how much; the transaction is of the same actor.
#[test]
fn recorded_as_an_action() {
    let (_database, mut conn) = database(PEOPLE);
    let redacted = done(
        &mut conn,
        redact("people")
            .keys([1, 2, 77])
            .mask(["email"])
            .remove(["born"]),
    );
    let action: Action = threadline::action(redacted.action_id)
        .get_result(&mut conn)
        .unwrap();
    assert_eq!(
        (&*action.name, action.reason.as_deref(), &action.actor),
        (
            "threadline.redaction",
            Some("erasure request 12"),
            &ActorRef::admin("dpo")
        )
    );
    let values = redacted.values;
    assert_eq!(
        action.meta,
        Some(json!({
            "table": "public.people", "columns": {"email": "mask", "born": "remove"}, "row_keys": ["1", "2", "77"],
            "rows": 2, "changes": 6, "values": values, "finished": true
        }))
    );
    let actor = "SELECT actor_ref FROM threadline.audit_transactions ORDER BY id DESC LIMIT 1";
    let actor: Value = serde_json::from_str(&text(&mut conn, actor).unwrap()).unwrap();
    assert_eq!(actor, json!({"type": "admin", "id": "dpo"}));
}

/// A run of small batches is one action; killed between them it leaves whole batches, and is finished by the next run.
#[test]
fn batches() {
    let (_database, mut conn) = database(PEOPLE);
    run(
        &mut conn,
        "INSERT INTO people SELECT n, 'secret', NULL, NULL, NULL, NULL FROM generate_series(10, 40) AS n",
    );
    let keys = || (1..=40).filter(|n| n % 2 == 1);
    let untouched = stored(&mut conn, "key::int % 2 = 0");
    let mut told = Vec::new();
    let redaction = redact("people").keys(keys()).mask(["email"]).batch_size(3);

    let mut step = |after: &str, action: &str| {
        let keys: Vec<_> = keys().map(|key| key.to_string()).collect();
        let sql = format!(
            "SELECT concat_ws('|', action_id, next) FROM threadline.redact_step('people', '{{{}}}', mask => '{{email}}', batch_size => 3, after => {after},
               action_id => {action}, actor_ref => '{{\"type\": \"user\", \"id\": \"1\"}}', reason => 'killed')",
            keys.join(",")
        );
        let said = text(&mut conn, &sql).unwrap();
        let (action, next) = said.split_once('|').unwrap();
        (format!("'{next}'"), format!("'{action}'"))
    };
    let (next, action) = step("NULL", "NULL");
    let (_, same) = step(&next, &action);
    assert_eq!(same, action);
    let meta = text(
        &mut conn,
        "SELECT meta - '{row_keys,columns,table,values}'::text[] FROM threadline.audit_actions",
    );
    assert_eq!(
        meta.unwrap(),
        r#"{"rows": 3, "changes": 5, "finished": false}"#
    );

    let redaction = redaction
        .pause(Duration::from_millis(1))
        .progress(|progress| told.push(progress.done));
    let redacted = done(&mut conn, redaction);
    assert_eq!((redacted.rows, redacted.changes), (17, 17));
    assert!(told.len() > 7 && told.is_sorted(), "{told:?}");
    assert_eq!(told.last(), Some(&17));
    let left = "key::int % 2 = 1 AND (data_after ->> 'email' <> '[REDACTED]' OR changed_from ->> 'email' <> '[REDACTED]')";
    assert_eq!(stored(&mut conn, left), "");
    assert_eq!(stored(&mut conn, "key::int % 2 = 0"), untouched);
    let once = stored(&mut conn, "true");
    let twice = redact("people").keys(keys()).mask(["email"]);
    let twice = twice
        .actor(ActorRef::admin("dpo"))
        .reason("again")
        .run(&mut conn);
    assert!(
        matches!(twice, Err(threadline::Error::Refused { .. })),
        "{twice:?}"
    );
    assert_eq!(stored(&mut conn, "true"), once);
}

/// A plan tells what a run does, and writes nothing, not even an action.
#[test]
fn dry_run() {
    let (_database, mut conn) = database(PEOPLE);
    let before = stored(&mut conn, "true");
    let redaction = redact("people")
        .keys([1, 5, 1])
        .mask(["email"])
        .remove(["born", "note"]);
    run(&mut conn, "SET default_transaction_read_only = on");
    let plan = redaction.clone().plan(&mut conn).unwrap();
    run(&mut conn, "RESET default_transaction_read_only");
    let expected = [("born", 4), ("email", 4), ("note", 1)].map(|(c, n)| (c.to_owned(), n));
    assert_eq!((plan.rows, plan.changes), (1, 3));
    assert_eq!(plan.values, expected.into());
    assert_eq!(plan.unknown_keys, ["5"]);
    assert_eq!(stored(&mut conn, "true"), before);
    assert_eq!(
        text(&mut conn, "SELECT count(*) FROM threadline.audit_actions").unwrap(),
        "0"
    );
    let redacted = done(&mut conn, redaction);
    assert_eq!(
        (redacted.changes, redacted.values),
        (plan.changes, plan.values.values().sum())
    );
}

/// Nobody is kept waiting: not one who is in the middle of changing the row, nor is the redaction by them.
#[test]
fn writers_go_on() {
    let (database, mut conn) = database(PEOPLE);
    let mut writer = database.connect();
    run(&mut conn, "SET lock_timeout = '2s'");
    run(
        &mut writer,
        "SET lock_timeout = '2s'; BEGIN; UPDATE people SET note = 'x' WHERE id = 1",
    );
    done(&mut conn, redact("people").row(1).mask(["email"]));
    let in_one_step = "BEGIN; SELECT threadline.redact_step('people', '{2}', mask => '{email}', actor_ref => '{\"type\": \"user\", \"id\": \"1\"}', reason => 'r')";
    run(&mut conn, in_one_step);
    run(
        &mut writer,
        "UPDATE people SET note = 'y' WHERE id = 2; COMMIT",
    );
    run(&mut conn, "COMMIT");
    let changes = "SELECT count(*) FROM threadline.changes WHERE row_key IN ('1', '2') AND data_after ->> 'note' IN ('x', 'y')";
    assert_eq!(text(&mut conn, changes).unwrap(), "2");
}

/// Two redactions of one change at the same time: neither undoes the other.
#[test]
fn two_at_a_time() {
    let (database, mut conn) = database(PEOPLE);
    let step = |column: &str| {
        format!(
            "SELECT threadline.redact_step('people', '{{1}}', mask => '{{{column}}}', actor_ref => '{{\"type\": \"user\", \"id\": \"1\"}}', reason => 'r')"
        )
    };
    run(&mut conn, &format!("BEGIN; {}", step("email")));
    let other = std::thread::spawn(move || {
        run(&mut database.connect(), &step("note"));
        database
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype IN ('transactionid', 'tuple') AND NOT granted";
    while text(&mut conn, waits).unwrap() == "0" {
        std::thread::yield_now();
    }
    run(&mut conn, "COMMIT");
    let _database = other.join().unwrap();
    assert!(
        !images(&mut conn, "1").contains("secret again")
            && !images(&mut conn, "1").contains("secret note")
    );
}

/// In a transaction of the caller's it would be one batch with all its locks.
#[test]
fn not_in_a_transaction() {
    let (_database, mut conn) = database(PEOPLE);
    let refused = conn.transaction(|conn| redact("people").row(1).mask(["email"]).run(conn));
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
}
