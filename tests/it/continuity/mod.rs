//! Continuity: tables that had rows before their capture began, and baselines, which record those rows.

mod images;
mod past;
mod refused;
mod report;
mod steps;
mod writers;

use diesel::pg::PgConnection;
use diesel::prelude::*;
use threadline::prelude::*;
use threadline::{Baseline, BaselineReport};

use crate::common::{changes, database, run, text};

diesel::table! {
    users { id -> Int4, name -> Text, }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
struct User {
    id: i32,
    name: String,
}

/// Five rows that are older than their capture.
const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 5) AS g; SELECT threadline.audit_table('users');";

fn baseline(table: &str) -> Baseline<'static> {
    threadline::baseline(table)
        .actor(ActorRef::user("ops"))
        .reason("the auditors ask for it")
}

/// All of it, in batches of two rows, so that each kind of key is gone on behind.
#[track_caller]
fn record(conn: &mut PgConnection, table: &str) -> BaselineReport {
    let done = baseline(table).batch_size(2).run(conn);
    let done = done.unwrap_or_else(|error| panic!("{table}: {error:?}"));
    assert!(done.finished, "{table}: {done:?}");
    done
}

/// Operation and key of every change of a table, in order.
fn ops(conn: &mut PgConnection, table: &str) -> Vec<String> {
    let told = |row: crate::common::Row| format!("{} {}", row.op, row.row_key.unwrap_or_default());
    changes(conn, table).into_iter().map(told).collect()
}

/// Recorded are the rows that were there before and have not changed since, as they are.
#[test]
fn rows_without_changes() {
    let (_database, mut conn) = database(USERS);
    run(
        &mut conn,
        "UPDATE users SET name = 'new' WHERE id = 2; DELETE FROM users WHERE id = 3; INSERT INTO users VALUES (6, 'new');
         UPDATE users SET id = 7 WHERE id = 4; UPDATE users SET name = name WHERE id = 1",
    );
    let done = record(&mut conn, "users");
    assert_eq!((done.passed, done.recorded), (5, 2));
    let expected = [
        "update 2",
        "delete 3",
        "insert 6",
        "delete 4",
        "insert 7",
        "snapshot 1",
        "snapshot 5",
    ];
    assert_eq!(ops(&mut conn, "public.users"), expected);

    let version = &User::history(1).load::<Version<User>>(&mut conn).unwrap()[0];
    assert_eq!(version.row.name, "old 1");
    assert_eq!(version.row_before, None);
    assert_eq!(version.actor, Some(ActorRef::user("ops")));
    assert_eq!(version.diff.len(), 2);
}

/// Nothing is back-dated: what moment the snapshots are of is told beside them.
#[test]
fn times() {
    let (_database, mut conn) = database(USERS);
    let done = record(&mut conn, "users");
    let since = text(
        &mut conn,
        "SELECT (extract(epoch FROM capture_since) * 1000000)::bigint FROM threadline.audited_tables",
    )
    .unwrap();
    assert_eq!(since.parse::<i64>().unwrap(), done.as_of.timestamp_micros());
    let later = "SELECT bool_and(captured_at > b.finished_at - interval '1 minute' AND captured_at > b.as_of) FROM threadline.audit_changes, threadline.baselines AS b";
    assert_eq!(text(&mut conn, later).as_deref(), Some("true"));
    let told = "SELECT concat_ws(' ', a.name, a.reason, a.actor_ref ->> 'id', a.meta - 'as_of', (a.meta ->> 'as_of')::timestamptz = b.as_of)
                  FROM threadline.audit_actions AS a JOIN threadline.baselines AS b ON b.action_id = a.id";
    assert_eq!(
        text(&mut conn, told).as_deref(),
        Some(
            r#"threadline.baseline the auditors ask for it ops {"table": "public.users", "changes": 5} t"#
        )
    );
}
