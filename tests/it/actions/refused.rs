//! What is no action, and who may not record one.

use std::sync::Arc;

use diesel::prelude::*;
use serde_json::json;
use threadline::Error;
use threadline::prelude::*;

use super::{actions, ada, audited, insert};
use crate::common::{error, run, text};
use crate::context::Log;

/// A role that may record actions needs no right on a table of the audit log, and gets none.
#[test]
fn rights() {
    let (database, mut conn) = audited();
    let role = format!("recorder_{}", database.name());
    run(
        &mut conn,
        &format!("CREATE ROLE {role}; GRANT ALL ON accounts TO {role}"),
    );
    let as_role = |conn: &mut PgConnection| {
        run(conn, &format!("SET ROLE {role}"));
        let recorded = conn.audited_transaction(&ada(), |conn| {
            insert(conn, 1)?;
            NewAction::new("account.opened").record(conn)
        });
        run(conn, "RESET ROLE");
        recorded
    };
    let refused = as_role(&mut conn);
    assert!(matches!(refused, Err(Error::Database(_))), "{refused:?}");
    run(
        &mut conn,
        &format!("SELECT threadline.grant_recorder('{role}')"),
    );
    as_role(&mut conn).unwrap();
    assert_eq!(actions(&mut conn), ["account.opened ada c-1 r-1 j-1"]);
    let by = "SELECT database_role FROM threadline.audit_transactions";
    assert_eq!(text(&mut conn, by).unwrap(), role);

    run(&mut conn, &format!("SET ROLE {role}"));
    for sql in [
        "SELECT FROM threadline.audit_actions",
        "INSERT INTO threadline.action_rules VALUES ('a.b', true)",
        "UPDATE threadline.audit_actions SET name = 'a.b'",
        "DELETE FROM threadline.audit_actions",
        "SELECT threadline.require_reason('a.b')",
        "SELECT threadline.grant_recorder(current_role::regrole)",
        "SELECT threadline_internal.enter_transaction(now(), NULL)",
    ] {
        assert!(
            error(&mut conn, sql).starts_with("permission denied"),
            "{sql}"
        );
    }
    run(
        &mut conn,
        &format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"),
    );
}

/// Where a reason is required, an action without one is refused whoever records it, and takes its transaction along.
#[test]
fn required_reason() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "SELECT threadline.require_reason('account.closed'), threadline.require_reason('account.closed')",
    );
    for reason in [None, Some(""), Some(" \t")] {
        let refused = conn.audited_transaction(&ada(), |conn| {
            insert(conn, 1)?;
            let action = NewAction::new("account.closed");
            match reason {
                Some(reason) => action.reason(reason).record(conn),
                None => action.record(conn),
            }
        });
        let Err(Error::ReasonRequired { action }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(action, "account.closed");
    }
    let by_hand = r#"SELECT threadline.record_action('account.closed', actor_ref => '{"type":"user","id":"7"}')"#;
    assert!(error(&mut conn, by_hand).starts_with("account.closed needs a reason"));
    assert_eq!(actions(&mut conn), [""; 0]);
    assert_eq!(
        text(&mut conn, "SELECT count(*) FROM accounts").unwrap(),
        "0"
    );

    conn.audited_transaction(&ada(), |conn| {
        NewAction::new("account.closed")
            .reason("asked for")
            .record(conn)?;
        NewAction::new("account.opened").record(conn)
    })
    .unwrap();
    run(
        &mut conn,
        "SELECT threadline.require_reason('account.closed', false)",
    );
    NewAction::new("account.closed")
        .context(&ada())
        .record(&mut conn)
        .unwrap();
    assert_eq!(actions(&mut conn).len(), 3);
}

/// Whether a reason is required has to be said.
#[test]
fn requirement_of_null() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "SELECT threadline.require_reason('account.closed')",
    );
    let unsaid = "SELECT threadline.require_reason('account.closed', NULL)";
    assert_eq!(error(&mut conn, unsaid), "a reason is required or is not");
    let kept = "SELECT reason_required FROM threadline.action_rules";
    assert_eq!(text(&mut conn, kept).unwrap(), "true");
}

/// Work that goes on after its action was refused is not told that it was committed.
#[test]
fn refusal_that_is_swallowed() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "SELECT threadline.require_reason('account.closed')",
    );
    let result = conn.audited_transaction(&ada(), |conn| {
        insert(conn, 1)?;
        let _ = NewAction::new("account.closed").record(conn);
        Ok::<_, Error>(())
    });
    assert!(matches!(result, Err(Error::Database(_))), "{result:?}");
    assert_eq!(
        text(&mut conn, "SELECT count(*) FROM accounts").unwrap(),
        "0"
    );
    conn.audited_transaction(&ada(), |conn| insert(conn, 1))
        .unwrap();
}

/// What cannot be stored, or is of nobody, is refused by its kind before anything is sent.
#[test]
fn refused_before_sending() {
    let (_database, mut conn) = audited();
    let log = Arc::default();
    conn.set_instrumentation(Log(Arc::clone(&log)));
    let action = || NewAction::new("account.opened").actor(ActorRef::user("ada"));
    let mut refused = |action: NewAction| action.record(&mut conn).unwrap_err();
    for name in [
        "",
        "opened",
        "account.",
        ".opened",
        "a..b",
        "Account.opened",
        "a.b c",
        "ä.b",
        "a.b\n",
        "a.b\0",
    ] {
        let error = refused(NewAction::new(name).actor(ActorRef::user("ada")));
        assert!(matches!(error, Error::InvalidAction(_)), "{name}: {error}");
    }
    let endless = NewAction::new(format!("a.{}", "b".repeat(255)));
    assert!(matches!(
        refused(endless.actor(ActorRef::user("ada"))),
        Error::InvalidAction(_)
    ));
    for action in [
        action().reason("a\0"),
        action().comment("a\0"),
        action().meta(json!({"a": ["\0"]})),
    ] {
        assert!(matches!(refused(action), Error::InvalidAction(_)));
    }
    for action in [
        action().actor(ActorRef::user("")),
        action().actor(ActorRef::user("a\0")),
        action().on_behalf_of(ActorRef::user("")),
    ] {
        assert!(matches!(refused(action), Error::InvalidActor(_)));
    }
    for action in [
        action().correlation_id("x".repeat(257)),
        action().request_id("a\0"),
        action().job_id("a\0"),
    ] {
        assert!(matches!(refused(action), Error::InvalidContext(_)));
    }
    assert!(matches!(
        refused(NewAction::new("a.b")),
        Error::MissingActor
    ));
    assert_eq!(*log.lock().unwrap(), [""; 0]);
}

/// In a transaction without an actor, or with a setting that passes for none, an action of nobody is refused.
#[test]
fn without_an_actor() {
    let (_database, mut conn) = audited();
    for setting in [
        "",
        "ada",
        r#"{"type":"robot","id":"1"}"#,
        r#"{"type":"user"}"#,
    ] {
        let refused = conn.transaction(|conn| {
            run(
                conn,
                &format!("SET LOCAL threadline.actor_ref = '{setting}'"),
            );
            NewAction::new("a.b").record(conn)
        });
        assert!(matches!(refused, Err(Error::MissingActor)), "{refused:?}");
    }
    let recorded = conn.transaction(|conn| {
        insert(conn, 1)?;
        NewAction::new("a.b")
            .actor(ActorRef::anonymous())
            .record(conn)
    });
    recorded.unwrap();
    let whose = "SELECT concat(a.actor_ref, t.actor_ref) FROM threadline.audit_actions AS a
        JOIN threadline.audit_transactions AS t ON t.id = a.transaction_id";
    assert_eq!(
        text(&mut conn, whose).unwrap(),
        r#"{"type": "anonymous"}"#,
        "the changes are still of nobody"
    );
}

/// People at `psql` get the same action from the function, and are told what they wrote wrong.
#[test]
fn by_hand() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        r#"BEGIN; SET LOCAL threadline.actor_ref = '{"type":"admin","id":"dba"}'; SET LOCAL threadline.context = '{"correlation_id":"incident-1"}';
           UPDATE accounts SET balance = 0; SELECT threadline.record_action('account.corrected', reason => 'incident 1'); COMMIT;
           SELECT threadline.record_action('account.checked', actor_ref => '{"type":"admin","id":"dba"}', context => '{"request_id":"r"}')"#,
    );
    assert_eq!(
        actions(&mut conn),
        ["account.corrected dba incident-1", "account.checked dba r"]
    );
    let too_long = format!(
        r#"'a.b', actor_ref => '{{"type":"user","id":"1"}}', context => '{{"request_id": "{}"}}'"#,
        "x".repeat(257)
    );
    for (arguments, message) in [
        (&*too_long, "this is no context:"),
        (
            r#"'a.b', actor_ref => '{"type":"user","id":"1"}', context => '{"job_id": 7}'"#,
            "this is no context:",
        ),
        (
            r#"'a.b', actor_ref => '"{\"type\":\"user\",\"id\":\"1\"}"'"#,
            "this is no actor:",
        ),
        ("'Nonsense'", "this is no name of an action: 'Nonsense'"),
        ("NULL", "this is no name of an action: NULL"),
        (
            "'a.b', status => 'good'",
            "the status of an action is error or ok",
        ),
        (
            "'a.b', status => NULL",
            "the status of an action is error or ok",
        ),
        ("'a.b'", "nobody is known who does a.b"),
        (
            r#"'a.b', actor_ref => '{"type":"robot","id":"1"}'"#,
            "this is no actor:",
        ),
        (
            r#"'a.b', actor_ref => '{"type":"user","id":"1"}', context => '[]'"#,
            "this is no context:",
        ),
        (
            r#"'a.b', actor_ref => '{"type":"user","id":"1"}', context => '{"on_behalf_of": 7}'"#,
            "this is no context:",
        ),
    ] {
        let said = error(
            &mut conn,
            &format!("SELECT threadline.record_action({arguments})"),
        );
        assert!(said.starts_with(message), "{arguments}: {said}");
    }
}
