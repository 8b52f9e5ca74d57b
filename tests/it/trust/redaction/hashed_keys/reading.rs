//! A row is found by its key, and by the hash of it; what is read of the past has the hash.

use chrono::Utc;
use diesel::prelude::*;
use threadline::RowAsOf;
use threadline::prelude::*;

use super::super::property::restored;
use super::{assert_secret, hash, sessions};
use crate::common::{count, error, run, text};

diesel::table! {
    sessions (token) { token -> Text, ip -> Nullable<Text>, n -> Int4, }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
#[diesel(primary_key(token))]
#[audited(hash_key(token))]
struct Session {
    token: String,
    ip: Option<String>,
    n: i32,
}

const WRITES: &str = "INSERT INTO sessions VALUES ('secret-1', 'a'), ('secret-2', 'b'), ('secret-3', 'c');
    UPDATE sessions SET n = 1 WHERE token = 'secret-1'; DELETE FROM sessions WHERE token = 'secret-3'";

/// Histories, stories and rows of the past are found by the key and by its hash.
#[test]
fn models() {
    let (_database, mut conn) = sessions();
    let conn = &mut conn;
    threadline::capture::install(conn, &[Session::audit_spec()]).unwrap();
    threadline::assert_audited(conn, &[Session::audit_spec()]).unwrap();
    run(conn, WRITES);
    let then = Utc::now();
    run(
        conn,
        "UPDATE sessions SET n = 2, ip = 'x' WHERE token = 'secret-1'; UPDATE sessions SET token = 'secret-4' WHERE token = 'secret-2'",
    );
    for number in 1..=4 {
        let token = format!("secret-{number}");
        let hashed = hash(conn, &token);
        let by_key = Session::history(&*token).load(conn).unwrap();
        let by_hash = Session::history(&*hashed).load(conn).unwrap();
        assert_eq!(by_key.len(), [3, 2, 2, 1][number - 1]);
        assert_eq!(by_key.len(), by_hash.len());
        assert!(by_key.iter().all(|version| version.row.token == hashed));
        assert_eq!(
            Session::story(&*token).load(conn).unwrap().len(),
            by_key.len()
        );
        for key in [&token, &hashed] {
            let row: RowAsOf<Session> = Session::as_of(&**key, then).get_result(conn).unwrap();
            let now: RowAsOf<Session> =
                Session::as_of(&**key, Utc::now()).get_result(conn).unwrap();
            match (row, now) {
                (RowAsOf::Found(row), RowAsOf::Found(now)) if number == 1 => {
                    assert_eq!((row.n, now.n), (1, 2));
                    assert_eq!((&row.token, &now.token), (&hashed, &hashed));
                }
                (RowAsOf::Found(row), RowAsOf::Deleted(_)) if number == 2 => {
                    assert_eq!(row.token, hashed);
                }
                (RowAsOf::Deleted(_), RowAsOf::Deleted(_)) => assert_eq!(number, 3),
                (RowAsOf::NotCreated, RowAsOf::Found(now)) => {
                    assert_eq!((number, now.token), (4, hashed.clone()));
                }
                other => panic!("{key}: {other:?}"),
            }
            let as_of =
                format!("(SELECT threadline.as_of(NULL::sessions, '{then}', '{key}')) AS t");
            assert_eq!(count(conn, &as_of), i64::from(number < 3), "{key}");
            let timeline = format!("threadline.timeline(jsonb_build_object('row_key', '{key}'))");
            assert_eq!(count(conn, &timeline), i64::try_from(by_key.len()).unwrap());
        }
    }
    assert_secret(conn);
}

/// A table of the past has hashes for keys, whether a row is live or in the audit log.
#[test]
fn tables() {
    let (_database, mut conn) = sessions();
    let conn = &mut conn;
    run(conn, WRITES);
    let then = Utc::now();
    run(conn, "UPDATE sessions SET n = 2 WHERE token = 'secret-1'");
    for at in [then, Utc::now()] {
        let rows: Vec<Session> = threadline::as_of(
            at,
            sessions::table
                .select(Session::as_select())
                .order(sessions::ip),
        )
        .load(conn)
        .unwrap();
        let tokens: Vec<_> = rows.into_iter().map(|row| row.token).collect();
        assert_eq!(tokens, [hash(conn, "secret-1"), hash(conn, "secret-2")]);
    }
    let hashed = hash(conn, "secret-1");
    let found: Vec<i32> = threadline::as_of(
        then,
        sessions::table
            .filter(sessions::token.eq(hashed))
            .select(sessions::n),
    )
    .load(conn)
    .unwrap();
    assert_eq!(found, [1]);
}

/// The history of a key is found by the index.
#[test]
fn index() {
    let (_database, mut conn) = sessions();
    run(&mut conn, WRITES);
    let plan: Vec<String> = {
        #[derive(QueryableByName)]
        struct Line {
            #[diesel(sql_type = diesel::sql_types::Text, column_name = "QUERY PLAN")]
            line: String,
        }
        let explain = "EXPLAIN SELECT op FROM threadline_internal.\"versions sessions\"(NULL::sessions, 'secret-1')";
        let lines: Vec<Line> = diesel::sql_query(explain).load(&mut conn).unwrap();
        lines.into_iter().map(|line| line.line).collect()
    };
    let plan = plan.join("\n");
    assert!(
        plan.contains("Index Cond: ((table_id = ") && plan.contains("\"left\"(key_text, 500) = "),
        "{plan}"
    );
    assert!(!plan.contains("Seq Scan on audit_changes"), "{plan}");
}

/// Redactions and holds name a row by its key, and what they record of it is the hash.
#[test]
fn redactions_and_holds() {
    let (_database, mut conn) = sessions();
    let conn = &mut conn;
    run(conn, WRITES);
    let plan = threadline::redact("sessions").row("secret-1").mask(["ip"]);
    let plan = plan
        .actor(ActorRef::admin("dpo"))
        .reason("why")
        .run(conn)
        .unwrap();
    assert_eq!(plan.changes, 2);
    run(
        conn,
        "SET threadline.actor_ref = '{\"type\": \"user\", \"id\": \"1\"}'; SELECT threadline.place_hold('why', 'sessions', 'secret-2')",
    );
    let held = text(conn, "SELECT row_key FROM threadline.legal_holds").unwrap();
    assert_eq!(held, hash(conn, "secret-2"));
    let refused = "SELECT threadline.redact_step('sessions', '{secret-2}', mask => '{ip}', actor_ref => '{\"type\":\"user\",\"id\":\"1\"}', reason => 'why')";
    assert!(error(conn, refused).contains("hold"));
    assert_secret(conn);
}

/// A row is brought back as long as it is there; one that was deleted has no key to be brought back with.
#[test]
fn restores() {
    let (_database, mut conn) = sessions();
    let conn = &mut conn;
    run(conn, WRITES);
    run(
        conn,
        "UPDATE sessions SET ip = 'x', n = 5 WHERE token = 'secret-1'",
    );
    let version = Session::history("secret-1").load(conn).unwrap().remove(1);
    version.restore().discard_later_changes().run(conn).unwrap();
    let row = text(
        conn,
        "SELECT concat(ip, n) FROM sessions WHERE token = 'secret-1'",
    );
    assert_eq!(row.as_deref(), Some("a1"));
    let version = Session::history("secret-3").load(conn).unwrap().remove(1);
    let refused = version
        .restore()
        .discard_later_changes()
        .run(conn)
        .unwrap_err();
    assert!(
        format!("{refused:?}").contains("its key is recorded as a hash"),
        "{refused}"
    );
    let inserted = Session::history("secret-2").load(conn).unwrap().remove(0);
    assert!(inserted.restore().run(conn).unwrap().op.is_none());
    assert_secret(conn);
}

/// A reader finds the history of a key that it knows, and cannot read the secret.
#[test]
fn readers() {
    let (database, mut conn) = sessions();
    let conn = &mut conn;
    let reader = format!("{}_reader", database.name());
    run(conn, WRITES);
    run(
        conn,
        &format!(
            "CREATE ROLE {reader}; SELECT threadline.grant_reader('{reader}'); GRANT SELECT ON sessions TO {reader}; SET ROLE {reader}"
        ),
    );
    assert_eq!(
        count(conn, "threadline.versions(NULL::sessions, 'secret-1')"),
        2
    );
    assert_eq!(
        count(conn, "threadline.timeline('{\"row_key\": \"secret-3\"}')"),
        2
    );
    assert_eq!(count(conn, "threadline.as_of(NULL::sessions, now())"), 2);
    assert_eq!(count(conn, "threadline.health"), 0);
    let denied = "permission denied for table key_secrets";
    assert_eq!(
        error(conn, "SELECT * FROM threadline_internal.key_secrets"),
        denied
    );
    run(
        conn,
        &format!("RESET ROLE; DROP OWNED BY {reader}; DROP ROLE {reader}"),
    );
}

/// A restored database goes on with the same hashes, before its first refresh and after it.
#[test]
fn elsewhere() {
    let (database, mut conn) = sessions();
    run(&mut conn, WRITES);
    let hashed = hash(&mut conn, "secret-1");
    let copy = restored(&database);
    let conn = &mut copy.connect();
    assert_eq!(hash(conn, "secret-1"), hashed);
    run(
        conn,
        "UPDATE sessions SET n = 3 WHERE token = 'secret-1'; INSERT INTO sessions VALUES ('secret-5')",
    );
    run(conn, super::REFRESH);
    run(
        conn,
        "UPDATE sessions SET n = 4 WHERE token = 'secret-1'; ALTER TABLE sessions RENAME token TO t; UPDATE sessions SET n = 5 WHERE t = 'secret-1'",
    );
    run(conn, super::REFRESH);
    assert_eq!(
        count(conn, "threadline.versions(NULL::sessions, 'secret-1')"),
        5
    );
    assert_secret(conn);
}

/// What the session has set for the meaning of backslashes changes no hash.
#[test]
fn settings() {
    let (_database, mut conn) = crate::common::database(
        "CREATE TABLE t (token bytea PRIMARY KEY); SELECT threadline.audit_table('t', hash_key => '{token}');
         INSERT INTO t VALUES ('secret-1');
         SET standard_conforming_strings = off; SET bytea_output = escape; SET backslash_quote = off; SET escape_string_warning = off;
         INSERT INTO t VALUES ('secret-2')",
    );
    let conn = &mut conn;
    for number in 1..=2 {
        let of_row = format!("threadline.versions(NULL::t, 'secret-{number}'::bytea)");
        assert_eq!(count(conn, &of_row), 1);
    }
    let past = "SELECT string_agg(encode(token, 'hex'), ',' ORDER BY token) FROM threadline.as_of(NULL::t, now())";
    let read = text(conn, past);
    run(conn, "RESET ALL");
    assert_eq!(text(conn, past), read);
    let keys =
        "SELECT string_agg(right(row_key, -2), ',' ORDER BY row_key) FROM threadline.changes";
    assert_eq!(text(conn, keys), read);
    assert_secret(conn);
}
