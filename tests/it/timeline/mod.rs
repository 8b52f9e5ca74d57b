//! The timeline: every change that a filter lets through, in order, a page at a time.

mod hostile_path;
mod keys;
mod params;
mod transactions;
mod transactions_parity;
mod typed;
mod versions_parity;

use diesel::prelude::*;
use serde_json::json;
use threadline::prelude::*;
use threadline::{Op, Timeline, TimelineEntry, timeline};
use threadline_test_support::Database;

use crate::common::{database, run};

diesel::table! {
    users {
        id -> Int4,
        name -> Text,
    }
}

#[derive(Queryable, Selectable, Audited)]
#[expect(dead_code, reason = "only its table is meant")]
struct User {
    id: i32,
    name: String,
}

fn audited() -> (Database, PgConnection) {
    database(
        r#"CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email text);
           CREATE SCHEMA blog; CREATE TABLE blog."Posts" (id uuid PRIMARY KEY, title text); CREATE TABLE pairs (a int, b text, PRIMARY KEY (a, b));
           SELECT threadline.audit_table('users', mask => '{email}'), threadline.audit_table('blog."Posts"'), threadline.audit_table('pairs')"#,
    )
}

pub(crate) fn load(conn: &mut PgConnection, timeline: Timeline) -> Vec<TimelineEntry> {
    timeline
        .load(conn)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Table, operation and key of each entry.
fn told(conn: &mut PgConnection, timeline: Timeline) -> Vec<String> {
    let entries = load(conn, timeline);
    let told = |e: &TimelineEntry| {
        format!(
            "{} {} {}",
            e.table_name,
            e.op,
            e.row_key.as_deref().unwrap_or("-")
        )
    };
    entries.iter().map(told).collect()
}

const POST: &str = "8d0e0a3c-7d3e-4c55-9c0e-3f1f3a3f2a11";

/// Each filter lets through what it says, of all tables, the newest first; and together they let through what each does.
#[test]
fn filters() {
    let (_database, mut conn) = audited();
    let ada = ActorRef::user("ada");
    let bob = ActorRef::admin("bob");
    let ctx = AuditContext::new(ada.clone()).correlation_id("c-1");
    conn.audited_transaction(&ctx, |conn| {
        run(
            conn,
            "INSERT INTO users VALUES (1, 'Grace', 'g@example.com')",
        );
        let as_ada = AuditContext::new(bob.clone()).on_behalf_of(ada.clone());
        conn.audited_transaction(&as_ada, |conn| {
            run(
                conn,
                &format!(r#"INSERT INTO blog."Posts" VALUES ('{POST}', 'Notes')"#),
            );
            QueryResult::Ok(())
        })?;
        NewAction::new("user.invited").reason("asked").record(conn)
    })
    .unwrap();
    conn.audited_transaction(&AuditContext::new(bob.clone()), |conn| {
        run(
            conn,
            "UPDATE users SET name = 'Grace Hopper'; INSERT INTO pairs VALUES (1, 'x')",
        );
        NewAction::new("user.renamed")
            .correlation_id("c-2")
            .record(conn)
    })
    .unwrap();
    run(
        &mut conn,
        "UPDATE users SET email = 'h@example.com'; DELETE FROM pairs",
    );

    let mut told = |timeline| told(&mut conn, timeline);
    let (user, post, pair) = (
        "users insert 1",
        format!("Posts insert {POST}"),
        r#"pairs insert [1, "x"]"#,
    );
    let all = [
        r#"pairs delete [1, "x"]"#,
        "users update 1",
        pair,
        "users update 1",
        &post,
        user,
    ];
    assert_eq!(told(timeline()), all);
    assert_eq!(
        told(timeline().table(users::table)),
        ["users update 1", "users update 1", user]
    );
    assert_eq!(told(timeline().table_named(r#"blog."Posts""#)), [&*post]);
    assert_eq!(
        told(
            timeline()
                .table_named("pairs")
                .table_named(r#"blog."Posts""#)
        ),
        [all[0], pair, &*post]
    );
    assert_eq!(told(timeline().actor(&ada)), [user]);
    assert_eq!(
        told(timeline().actor(&bob)),
        [pair, "users update 1", &*post]
    );
    assert_eq!(told(timeline().on_behalf_of(&ada)), [&*post]);
    // The nested change is not of that process, but an action of its transaction is.
    assert_eq!(told(timeline().correlation_id("c-1")), [&*post, user]);
    assert_eq!(
        told(timeline().correlation_id("c-2")),
        [pair, "users update 1"]
    );
    assert_eq!(told(timeline().action("user.invited")), [&*post, user]);
    assert_eq!(told(timeline().op(Op::Delete)), [all[0]]);
    assert_eq!(told(timeline().op(Op::Delete).op(Op::Update)).len(), 3);
    assert_eq!(
        told(timeline().op(Op::Update).column("email")),
        ["users update 1"]
    );
    assert_eq!(told(timeline().row_key("1")).len(), 3);
    assert_eq!(told(timeline().row_key(POST)), [&*post]);
    assert_eq!(told(timeline().row_key(r#"[1, "x"]"#)), [all[0], pair]);
    assert_eq!(
        told(
            timeline()
                .actor(&bob)
                .table(users::table)
                .action("user.renamed")
        ),
        ["users update 1"]
    );
    assert_eq!(told(timeline().actor(&ada).op(Op::Delete)), [""; 0]);
    assert_eq!(
        told(timeline().actor(&ActorRef::user("O'Hara \\"))),
        [""; 0]
    );
}

/// An entry tells all there is: the rows before and after as they are read today, what changed, who acted, and the actions.
#[test]
fn entries() {
    let (_database, mut conn) = audited();
    let ctx = AuditContext::new(ActorRef::user("ada"))
        .source("shop")
        .remote_ip([192, 0, 2, 7].into());
    conn.audited_transaction(&ctx, |conn| {
        run(conn, "INSERT INTO users VALUES (1, 'Grace', 'g@example.com'); UPDATE users SET name = 'Hopper', email = 'h@example.com'");
        NewAction::new("user.made").meta(json!({"n": null})).record(conn)?;
        NewAction::new("user.renamed").reason("asked").record(conn)
    })
    .unwrap();
    run(
        &mut conn,
        "ALTER TABLE users RENAME name TO full_name; SELECT threadline.refresh_audited_tables()",
    );
    let entries = load(&mut conn, timeline().op(Op::Update));
    let [entry] = &entries[..] else {
        panic!("{entries:?}");
    };
    assert_eq!(
        (entry.table_schema.as_str(), entry.table_name.as_str()),
        ("public", "users")
    );
    assert_eq!(
        entry.row,
        json!({"id": 1, "full_name": "Hopper", "email": "[REDACTED]"})
    );
    assert_eq!(
        entry.row_before,
        Some(json!({"id": 1, "full_name": "Grace", "email": "[REDACTED]"}))
    );
    assert_eq!(
        entry.diff.to_string(),
        r#"email: (masked), full_name: "Grace" → "Hopper""#
    );
    assert_eq!(entry.actor, Some(ActorRef::user("ada")));
    assert_eq!(
        (entry.source.as_deref(), entry.remote_ip),
        (Some("shop"), Some([192, 0, 2, 7].into()))
    );
    let actions: Vec<_> = entry
        .actions
        .iter()
        .map(|a| (a.name.as_str(), a.reason.as_deref(), a.meta.clone()))
        .collect();
    assert_eq!(
        actions,
        [
            ("user.made", None, Some(json!({"n": null}))),
            ("user.renamed", Some("asked"), None)
        ]
    );
    assert_eq!(entry.actions[0].actor, ActorRef::user("ada"));

    // A table that is gone is still told.
    run(&mut conn, "DROP TABLE users CASCADE");
    assert_eq!(load(&mut conn, timeline()).len(), 2);
}

/// While changes go on, the pages that follow are what they would have been, each change once.
#[test]
fn pages_are_stable() {
    let (_database, mut conn) = audited();
    let insert = |conn: &mut PgConnection, id: i32| {
        run(conn, &format!("INSERT INTO users VALUES ({id}, 'x')"));
    };
    (1..=7).for_each(|id| insert(&mut conn, id));
    let mut seen = Vec::new();
    let mut page = load(&mut conn, timeline().limit(3));
    while let Some(last) = page.last() {
        seen.extend(page.iter().map(|e| e.row_key.clone().unwrap()));
        let next = i32::try_from(seen.len()).unwrap() + 100;
        insert(&mut conn, next);
        // As a client would send it back.
        let cursor = last.cursor().to_string().parse().unwrap();
        page = load(&mut conn, timeline().before(cursor).limit(3));
    }
    assert_eq!(seen, ["7", "6", "5", "4", "3", "2", "1"]);
    let count: i64 = timeline().count().get_result(&mut conn).unwrap();
    assert_eq!(count, 10);
}

/// A reader needs what `grant_reader` gives, and no more; a table without a history is named.
#[test]
fn rights_and_errors() {
    let (database, mut conn) = audited();
    let role = format!("reader_{}", database.name());
    run(
        &mut conn,
        &format!("INSERT INTO users VALUES (1, 'x'); CREATE ROLE {role}; SET ROLE {role}"),
    );
    assert!(timeline().load::<TimelineEntry>(&mut conn).is_err());
    run(
        &mut conn,
        &format!("RESET ROLE; SELECT threadline.grant_reader('{role}'); SET ROLE {role}"),
    );
    let by_nobody = timeline().table_named("users").row_key("1");
    assert_eq!(told(&mut conn, by_nobody.clone()), ["users insert 1"]);
    assert_eq!(by_nobody.count().get_result(&mut conn), Ok(1_i64));
    assert_eq!(
        told(&mut conn, timeline().actor(&ActorRef::anonymous())),
        [""; 0]
    );
    run(
        &mut conn,
        &format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}; CREATE TABLE other ()"),
    );
    for (table, message) in [
        ("other", "public.other has no history: it is not audited"),
        ("nothing", "relation \"nothing\" does not exist"),
    ] {
        let error = timeline()
            .table_named(table)
            .load::<TimelineEntry>(&mut conn)
            .unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

/// The same query, run by diesel-async.
#[tokio::test]
async fn asynchronous() {
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

    let (database, mut conn) = audited();
    run(&mut conn, "INSERT INTO users VALUES (1, 'x'), (2, 'y')");
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let users = timeline().table(users::table).limit(1);
    let page: Vec<TimelineEntry> = RunQueryDsl::load(users.clone(), &mut conn).await.unwrap();
    let next = users.clone().before(page[0].cursor());
    let next: Vec<TimelineEntry> = RunQueryDsl::load(next, &mut conn).await.unwrap();
    let keys = [&page[0], &next[0]].map(|e| e.row_key.clone().unwrap());
    assert_eq!(keys, ["2", "1"]);
    let count: i64 = RunQueryDsl::get_result(users.count(), &mut conn)
        .await
        .unwrap();
    assert_eq!(count, 2);
}

/// A value that Rust cannot read hides neither its row nor the others: it is its text.
#[test]
fn unreadable_values() {
    let (_database, mut conn) = database(
        "CREATE TABLE notes (id int PRIMARY KEY, n numeric, note jsonb); SELECT threadline.audit_table('notes')",
    );
    run(
        &mut conn,
        r#"INSERT INTO notes VALUES (1, 10::numeric ^ 400, '{"a": 1}'), (2, 1.5, (repeat('[', 200) || repeat(']', 200))::jsonb)"#,
    );
    run(
        &mut conn,
        r#"BEGIN; SELECT set_config('threadline.actor_ref', '{"type": "user", "id": "7"}', true),
                         set_config('threadline.context', format('{"meta": %s1%s}', repeat('{"m": ', 150), repeat('}', 150)), true);
           UPDATE notes SET n = n + 1; SELECT threadline.record_action('note.edited', meta => (repeat('[', 300) || repeat(']', 300))::jsonb); COMMIT"#,
    );
    let entries = load(&mut conn, timeline());
    assert_eq!(entries.len(), 4);
    let of = |op: Op, key: &str| {
        entries
            .iter()
            .find(|e| e.op == op && e.row_key.as_deref() == Some(key))
            .unwrap()
    };
    let (huge, deep) = (of(Op::Insert, "1"), of(Op::Update, "2"));
    assert!(
        huge.row["n"]
            .as_str()
            .is_some_and(|digits| digits.starts_with(&("1".to_owned() + &"0".repeat(400))))
    );
    assert_eq!(huge.row["note"], json!({"a": 1}));
    assert_eq!(deep.row["note"].as_str().map(str::len), Some(400));
    assert_eq!(deep.diff.to_string(), "n: 1.5 → 2.5");
    assert!(deep.meta.is_some());
    assert_eq!(
        deep.actions[0]
            .meta
            .as_ref()
            .and_then(serde_json::Value::as_str)
            .map(str::len),
        Some(600)
    );
    let transaction: threadline::AuditTransaction = threadline::transaction(deep.transaction_id)
        .get_result(&mut conn)
        .unwrap();
    assert_eq!(transaction.actions, deep.actions);
    assert_eq!(transaction.meta, deep.meta);
}
