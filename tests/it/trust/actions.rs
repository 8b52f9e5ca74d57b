//! What a recorder may put into the audit log as an action, and what only Threadline's own operations may.

use threadline::Error;
use threadline::prelude::*;

use crate::common::{database, error, run, text};

const ADA: &str = r#"actor_ref => '{"type":"user","id":"ada"}'"#;

/// A recorder cannot say what was done to the audit log itself: neither as it is called, nor by a name that looks like it.
#[test]
fn forged_operations() {
    let (database, mut conn) = database("CREATE TABLE t (id int PRIMARY KEY)");
    let role = format!("recorder_{}", database.name());
    run(
        &mut conn,
        &format!("CREATE ROLE {role}; SELECT threadline.grant_recorder('{role}'); SET ROLE {role}"),
    );
    for name in [
        "threadline.redaction",
        "threadline.purge",
        "threadline.hold_placed",
        "threadline.hold_released",
        "threadline.baseline",
        "threadline.anything",
        "threadline.a.b",
    ] {
        let said = error(
            &mut conn,
            &format!("SELECT threadline.record_action('{name}', {ADA})"),
        );
        assert_eq!(
            said,
            format!(
                "only Threadline itself records {name} HINT: Names that begin with threadline. say what was done to the audit log: use another category."
            )
        );
    }
    for name in [
        "Threadline.redaction",
        "THREADLINE.PURGE",
        " threadline.redaction",
        "threadline.redaction ",
        "threadline .redaction",
        "threadline.redaction\n",
        "\u{200b}threadline.redaction",
        "threadline\u{200b}.redaction",
        "thread\u{ad}line.redaction",
        "tһreadline.redaction",
        "threadlıne.redaction",
        "ｔhreadline.redaction",
        "threadline．redaction",
        "threadline..redaction",
        ".threadline.redaction",
        "threadline",
    ] {
        let said = error(
            &mut conn,
            &format!("SELECT threadline.record_action('{name}', {ADA})"),
        );
        assert!(said.starts_with("this is no name of an action"), "{said}");
    }
    let internal =
        format!("SELECT threadline_internal.insert_action('threadline.redaction', {ADA})");
    assert!(error(&mut conn, &internal).starts_with("permission denied"));
    run(
        &mut conn,
        &format!("SELECT threadline.record_action('threadline_internal.x', {ADA}); RESET ROLE"),
    );
    // Nor the owner, by the function that is for everybody; and from Rust nothing is sent.
    let by_owner = format!("SELECT threadline.record_action('threadline.purge', {ADA})");
    assert!(error(&mut conn, &by_owner).starts_with("only Threadline itself"));
    let refused = NewAction::new("threadline.purge")
        .actor(ActorRef::user("ada"))
        .record(&mut conn);
    assert!(matches!(refused, Err(Error::InvalidAction(_))));
    assert_eq!(
        text(
            &mut conn,
            "SELECT string_agg(name, ' ') FROM threadline.audit_actions"
        )
        .unwrap(),
        "threadline_internal.x"
    );
    run(
        &mut conn,
        &format!("DROP OWNED BY {role}; DROP ROLE {role}"),
    );
}

/// The owner's operations record theirs, and a reason that is required of them is.
#[test]
fn own_operations() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, note text); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 'a')",
    );
    run(
        &mut conn,
        r#"SET threadline.actor_ref = '{"type":"admin","id":"dpo"}';
           SELECT threadline.redact_step('t', '{1}', mask => '{note}', reason => 'erasure request');
           SELECT threadline.place_hold('case 12', 't'); SELECT threadline.release_hold(id, 'closed') FROM threadline.legal_holds"#,
    );
    let names = "SELECT string_agg(name, ' ' ORDER BY id) FROM threadline.audit_actions";
    assert_eq!(
        text(&mut conn, names).unwrap(),
        "threadline.redaction threadline.hold_placed threadline.hold_released"
    );
    run(
        &mut conn,
        "SELECT threadline.require_reason('threadline.purge')",
    );
    let purge = "SELECT threadline_internal.insert_action('threadline.purge')";
    assert!(error(&mut conn, purge).starts_with("threadline.purge needs a reason"));
}

/// What is too long for an action is an error that says how long it may be; what is just as long is recorded.
#[test]
fn bounds() {
    let (_database, mut conn) = database("CREATE TABLE t (id int PRIMARY KEY)");
    for (arguments, refusal) in [
        (
            "'a.b', reason => repeat('🦀', 10001)",
            "the reason of an action has at most 10000 characters",
        ),
        (
            "'a.b', comment => repeat('x', 10001)",
            "the comment of an action has at most 10000 characters",
        ),
        (
            "'a.b', meta => to_jsonb(repeat('x', 65535))",
            "the meta of an action has at most 65536 bytes of text",
        ),
        (
            "'a.b', meta => '[1e131071]'",
            "the meta of an action has at most 65536 bytes of text",
        ),
        ("'a.' || repeat('b', 255)", "this is no name of an action"),
    ] {
        let said = error(
            &mut conn,
            &format!("SELECT threadline.record_action({arguments}, {ADA})"),
        );
        assert!(said.starts_with(refusal), "{said}");
    }
    run(
        &mut conn,
        &format!(
            "SELECT threadline.record_action('a.' || repeat('b', 254), reason => repeat('🦀', 10000), comment => repeat('🦀', 10000),
               meta => to_jsonb(repeat('x', 65534)), {ADA})"
        ),
    );
    let action = || NewAction::new("a.b").actor(ActorRef::user("ada"));
    for action in [
        action().reason("🦀".repeat(10_001)),
        action().comment("🦀".repeat(10_001)),
        action().meta("x".repeat(65_535).into()),
    ] {
        let refused = action.record(&mut conn);
        assert!(matches!(refused, Err(Error::InvalidAction(_))));
    }
    action()
        .reason("🦀".repeat(10_000))
        .comment("🦀".repeat(10_000))
        .meta("x".repeat(65_534).into())
        .record(&mut conn)
        .unwrap();
    let refused = action()
        .actor(ActorRef::user("x".repeat(1001)))
        .record(&mut conn);
    assert!(matches!(refused, Err(Error::InvalidActor(_))));
    action()
        .actor(ActorRef::user("x".repeat(1000)))
        .record(&mut conn)
        .unwrap();
}
