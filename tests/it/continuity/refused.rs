use threadline::Error;

use super::*;

#[track_caller]
fn refused(conn: &mut PgConnection, table: &str) -> String {
    match baseline(table).run(conn) {
        Err(Error::Refused { message, hint }) => {
            assert!(!hint.is_empty(), "{message}");
            message
        }
        other => panic!("{table}: {other:?}"),
    }
}

/// Nobody who does it, or no reason: refused before anything is written.
#[test]
fn without_actor_or_reason() {
    let (_database, mut conn) = database(USERS);
    let error = threadline::baseline("users")
        .reason("why")
        .run(&mut conn)
        .unwrap_err();
    assert!(matches!(error, Error::MissingActor), "{error:?}");
    for reason in [None, Some(" ")] {
        let mut baseline = threadline::baseline("users").actor(ActorRef::user("ops"));
        if let Some(reason) = reason {
            baseline = baseline.reason(reason);
        }
        let error = baseline.run(&mut conn).unwrap_err();
        assert!(
            matches!(&error, Error::ReasonRequired { action } if action == "threadline.baseline"),
            "{error:?}"
        );
    }
    let written = "SELECT count(*) FROM threadline.audit_transactions, threadline.baselines";
    assert_eq!(text(&mut conn, written).as_deref(), Some("0"));
}

/// Whatever keeps the rows from being what they were, or from being gone through.
#[test]
fn tables() {
    let (_database, mut conn) = database(USERS);
    run(
        &mut conn,
        "CREATE TABLE unseen (id int PRIMARY KEY); CREATE TABLE ended (id int PRIMARY KEY); CREATE TABLE keyless (id int);
         CREATE TABLE late (id int PRIMARY KEY DEFERRABLE); CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent);
         CREATE TABLE stale (id int PRIMARY KEY); CREATE TABLE broken (id int PRIMARY KEY);
         SELECT threadline.audit_table(t::regclass) FROM unnest('{ended,keyless,late,parent,stale,broken}'::text[]) AS t;
         SELECT threadline.unaudit_table('ended'); ALTER TABLE stale ADD note text; ALTER TABLE broken DISABLE TRIGGER ALL",
    );
    for (table, expected) in [
        (
            "unseen",
            "cannot record a baseline of public.unseen: it is not audited",
        ),
        (
            "ended",
            "cannot read public.ended as of the past: its capture ended at ",
        ),
        (
            "keyless",
            "cannot record a baseline of public.keyless: it has no primary key",
        ),
        (
            "late",
            "cannot read public.late as of the past: its primary key is deferrable",
        ),
        (
            "parent",
            "cannot read public.parent as of the past: other tables inherit from it",
        ),
        (
            "stale",
            "cannot record a baseline of public.stale: its columns, its key or its partitions are not those",
        ),
        (
            "broken",
            "cannot read public.broken as of the past: capture triggers of it",
        ),
    ] {
        let message = refused(&mut conn, table);
        assert!(message.starts_with(expected), "{message}");
    }
    let error = baseline("users").batch_size(0).run(&mut conn).unwrap_err();
    assert!(
        error.to_string().contains("a batch has at least one row"),
        "{error}"
    );
    let error = baseline("nowhere").run(&mut conn).unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error:?}");
    conn.transaction(|conn| {
        let message = refused(conn, "users");
        assert_eq!(
            message,
            "long work commits as it goes, and a transaction is open"
        );
        QueryResult::Ok(())
    })
    .unwrap();
    assert_eq!(ops(&mut conn, "public.users"), [""; 0]);
}

/// Rows that the caller does not see are not taken for all there are; who does not own the audit log cannot write it.
#[test]
fn rights() {
    let (database, mut conn) = database(USERS);
    let role = format!("baseline_{}", database.name());
    run(
        &mut conn,
        &format!(
            "CREATE ROLE {role}; GRANT SELECT ON users TO {role}; GRANT USAGE ON SCHEMA threadline, threadline_internal TO {role};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA threadline, threadline_internal TO {role}; GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA threadline, threadline_internal TO {role};
             ALTER TABLE users ENABLE ROW LEVEL SECURITY; SET ROLE {role}"
        ),
    );
    assert!(refused(&mut conn, "users").contains("row level security hides rows of it from"));
    run(
        &mut conn,
        &format!("RESET ROLE; ALTER TABLE users DISABLE ROW LEVEL SECURITY; SELECT threadline.grant_reader('{role}');
                  REVOKE UPDATE ON ALL TABLES IN SCHEMA threadline FROM {role}; SET ROLE {role}"),
    );
    let error = baseline("users").run(&mut conn).unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error:?}");
    run(
        &mut conn,
        &format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"),
    );
}
