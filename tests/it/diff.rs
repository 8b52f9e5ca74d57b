//! `version.diff`: what a change did to each column, as the columns are called today.

use diesel::prelude::*;
use serde_json::{Value, json};
use threadline::prelude::*;
use threadline::{Change, Diff, TableSpec};
use threadline_test_support::Database;

use crate::common::{database, run};

diesel::table! {
    users {
        id -> Int4,
        name -> Nullable<Text>,
    }
}

/// Only the columns that every state of the table has.
#[derive(Debug, Queryable, Selectable, Audited)]
#[diesel(table_name = users)]
#[expect(dead_code, reason = "only its diffs are looked at")]
struct User {
    id: i32,
    name: Option<String>,
}

fn users(columns: &str) -> (Database, PgConnection) {
    database(&format!(
        "CREATE TABLE users (id int PRIMARY KEY, name text, {columns})"
    ))
}

/// Operation and diff of every change, the oldest first.
#[track_caller]
fn diffs(conn: &mut PgConnection) -> Vec<(String, Value)> {
    let versions: Vec<Version<User>> = User::history_all()
        .order(threadline::change::id)
        .load(conn)
        .unwrap();
    versions
        .iter()
        .map(|v| (v.op.to_string(), serde_json::to_value(&v.diff).unwrap()))
        .collect()
}

fn told(op: &str, diff: Value) -> (String, Value) {
    (op.to_owned(), diff)
}

/// An insert tells every column after, a delete and a truncation every column before, an update what changed; a null is
/// a value, and the order is that of the names.
#[test]
fn operations() {
    let (_database, mut conn) = users(r#""Zip" text, note jsonb DEFAULT '[1]'"#);
    threadline::capture::install(&mut conn, &[TableSpec::new(users::table)]).unwrap();
    run(
        &mut conn,
        r#"INSERT INTO users VALUES (1, 'Ada', NULL); UPDATE users SET name = NULL, "Zip" = '10'; UPDATE users SET note = 'null';
           DELETE FROM users; INSERT INTO users VALUES (2); TRUNCATE users"#,
    );
    let column = |name: &str, side: &str, value: Value| json!({"column": name, side: value});
    let row = |side: &str, values: [Value; 4]| {
        let [zip, id, name, note] = values;
        json!([
            column("Zip", side, zip),
            column("id", side, id),
            column("name", side, name),
            column("note", side, note)
        ])
    };
    let null = || Value::Null;
    assert_eq!(
        diffs(&mut conn),
        [
            told(
                "insert",
                row("after", [null(), json!(1), json!("Ada"), json!([1])])
            ),
            told(
                "update",
                json!([{"column": "Zip", "before": null, "after": "10"}, {"column": "name", "before": "Ada", "after": null}])
            ),
            told(
                "update",
                json!([{"column": "note", "before": [1], "after": null}])
            ),
            told(
                "delete",
                row("before", [json!("10"), json!(1), null(), null()])
            ),
            told(
                "insert",
                row("after", [null(), json!(2), null(), json!([1])])
            ),
            told(
                "truncate",
                row("before", [null(), json!(2), null(), json!([1])])
            ),
        ]
    );
}

/// Of a masked column it is told that it changed, and never from what to what; of an excluded one, nothing: also of
/// changes that were recorded before it was redacted.
#[test]
fn redacted() {
    let (_database, mut conn) = users("email text, secret text");
    let spec = TableSpec::new(users::table);
    threadline::capture::install(&mut conn, std::slice::from_ref(&spec)).unwrap();
    let writes = |conn: &mut PgConnection| {
        run(
            conn,
            "INSERT INTO users VALUES (1, 'Ada', 'ada@example.com', 's'); UPDATE users SET email = 'al@example.com', secret = 't';
             UPDATE users SET secret = 'u'; DELETE FROM users",
        );
    };
    writes(&mut conn);
    threadline::capture::install(&mut conn, &[spec.mask(["email"]).exclude(["secret"])]).unwrap();
    writes(&mut conn);
    let masked = |sides: &[&str]| {
        let mut field = json!({"column": "email", "masked": true});
        for side in sides {
            field[side] = json!("[REDACTED]");
        }
        field
    };
    let whole = |side: &str| json!([masked(&[side]), {"column": "id", side: 1}, {"column": "name", side: "Ada"}]);
    let expected = [
        told("insert", whole("after")),
        told("update", json!([masked(&["before", "after"])])),
        told("update", json!([])),
        told("delete", whole("before")),
    ];
    let told = diffs(&mut conn);
    assert_eq!(told[..4], expected, "recorded before");
    // An update of nothing but what is excluded is none.
    assert_eq!(
        told[4..],
        [&expected[..2], &expected[3..]].concat(),
        "recorded after"
    );
    let texts = format!("{told:?}");
    assert!(
        !texts.contains("example.com") && !texts.contains("secret"),
        "{texts}"
    );
}

/// Older changes are told under the names of today, and in the columns that there were.
#[test]
fn columns_come_and_go() {
    let (_database, mut conn) = users("mail text, gone int");
    let spec = [TableSpec::new(users::table)];
    threadline::capture::install(&mut conn, &spec).unwrap();
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, 'Ada', 'a', 1); UPDATE users SET mail = 'b', gone = 2;
         ALTER TABLE users RENAME mail TO email; ALTER TABLE users DROP gone; ALTER TABLE users ADD added int DEFAULT 7",
    );
    threadline::capture::install(&mut conn, &spec).unwrap();
    run(&mut conn, "UPDATE users SET email = 'c', added = 8");
    let told = diffs(&mut conn);
    assert_eq!(
        told[1..],
        [
            (
                "update".to_owned(),
                json!([{"column": "email", "before": "a", "after": "b"}, {"column": "gone", "before": 1, "after": 2}])
            ),
            (
                "update".to_owned(),
                json!([{"column": "added", "before": 7, "after": 8}, {"column": "email", "before": "b", "after": "c"}])
            ),
        ]
    );
    let fields: Vec<_> = told[0]
        .1
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["column"])
        .collect();
    assert_eq!(fields, ["added", "email", "gone", "id", "name"]);
}

/// Both halves of a change of the key are whole rows, and a row that was gone tells what it was.
#[test]
fn moves_and_deletes() {
    let (_database, mut conn) = users("n int");
    threadline::capture::install(&mut conn, &[TableSpec::new(users::table)]).unwrap();
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, 'Ada', 3); UPDATE users SET id = 2",
    );
    let told: Vec<_> = diffs(&mut conn)
        .into_iter()
        .map(|(op, diff)| (op, diff.as_array().unwrap().len()))
        .collect();
    let ops = ["insert", "delete", "insert"].map(|op| (op.to_owned(), 3));
    assert_eq!(told, ops);

    let deleted: RowAsOf<User> = User::as_of(1, chrono::Utc::now())
        .get_result(&mut conn)
        .unwrap();
    let RowAsOf::Deleted(change) = deleted else {
        panic!("{deleted:?}");
    };
    let Change {
        diff, moved_key, ..
    } = *change;
    assert_eq!(moved_key.as_deref(), Some("2"));
    assert_eq!(diff.to_string(), r#"id: 1, n: 3, name: "Ada""#);
    let alone: Vec<Diff> = User::history(2)
        .select(threadline::change::diff)
        .load(&mut conn)
        .unwrap();
    assert_eq!(alone.len(), 1);
}
