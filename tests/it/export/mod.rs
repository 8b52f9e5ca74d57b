//! Exports: the timeline as files, in formats that others read.

mod files;
mod hostile;
pub(crate) mod readers;
mod refused;

use diesel::prelude::*;
use serde_json::{Value, json};
use threadline::prelude::*;
use threadline::{ExportFormat, ExportReport, Timeline, timeline};
use threadline_test_support::Database;

use crate::common::{database, run};

const FORMATS: [ExportFormat; 3] = [ExportFormat::Csv, ExportFormat::Json, ExportFormat::Ndjson];

fn audited() -> (Database, PgConnection) {
    database(
        "CREATE TABLE users (id int PRIMARY KEY, name text, email text, balance numeric);
         CREATE TABLE pairs (a int, b text, PRIMARY KEY (a, b)); CREATE TABLE notes (note jsonb);
         SELECT threadline.audit_table('users', mask => '{email}'), threadline.audit_table('pairs'), threadline.audit_table('notes')",
    )
}

fn exported(
    conn: &mut PgConnection,
    timeline: Timeline,
    format: ExportFormat,
) -> (ExportReport, String) {
    let mut bytes = Vec::new();
    let exported = timeline
        .export(format)
        .write_to(conn, &mut bytes)
        .unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(exported.bytes, bytes.len() as u64);
    (exported, String::from_utf8(bytes).unwrap())
}

fn lines(conn: &mut PgConnection, timeline: Timeline) -> Vec<Value> {
    let (_, text) = exported(conn, timeline, ExportFormat::Ndjson);
    let line = |line: &str| serde_json::from_str(line).unwrap();
    text.lines().map(line).collect()
}

/// Changes of each kind, in a transaction with two actors and an action, and in others.
fn with_changes() -> (Database, PgConnection) {
    let (database, mut conn) = audited();
    let ctx = AuditContext::new(ActorRef::user("ada"))
        .source("shop")
        .correlation_id("order-7")
        .remote_ip([192, 0, 2, 7].into());
    conn.audited_transaction(&ctx, |conn| {
        run(
            conn,
            "INSERT INTO users VALUES (1, 'Grace', 'g@example.com', 0.10)",
        );
        let nested =
            AuditContext::new(ActorRef::job("sweeper")).on_behalf_of(ActorRef::user("ada"));
        conn.audited_transaction(&nested, |conn| {
            run(conn, "UPDATE users SET id = 2, email = 'h@example.com'");
            QueryResult::Ok(())
        })?;
        NewAction::new("user.invited")
            .reason("asked")
            .meta(json!({"n": 1}))
            .record(conn)
    })
    .unwrap();
    run(
        &mut conn,
        "INSERT INTO pairs VALUES (1, 'x'); DELETE FROM pairs; INSERT INTO notes VALUES ('[1]')",
    );

    (database, conn)
}

/// What a change has: who, what and why, of each kind of operation.
#[test]
fn members() {
    let (_database, mut conn) = with_changes();
    let changes = lines(&mut conn, timeline());
    let told: Vec<_> = changes
        .iter()
        .map(|c| {
            format!(
                "{} {} {} {} {}",
                c["table_name"], c["op"], c["table_pk"], c["row_key"], c["moved_key"]
            )
            .replace('"', "'")
        })
        .collect();
    assert_eq!(
        told,
        [
            "'notes' 'insert' {} null null",
            r"'pairs' 'delete' {'a':1,'b':'x'} '[1, \'x\']' null",
            r"'pairs' 'insert' {'a':1,'b':'x'} '[1, \'x\']' null",
            "'users' 'insert' {'id':2} '2' '1'",
            "'users' 'delete' {'id':1} '1' '2'",
            "'users' 'insert' {'id':1} '1' null",
        ]
    );
    let [_, delete, _, moved, _, insert] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(
        (&delete["data_after"], &delete["changed_from"]),
        (&Value::Null, &json!({"a": 1, "b": "x"}))
    );
    assert_eq!(
        (&insert["changed_from"], &insert["changed_fields"]),
        (&json!({}), &json!(["id", "name", "email", "balance"]))
    );
    assert_eq!(insert["data_after"]["email"], "[REDACTED]");
    let transaction = &insert["transaction"];
    assert_eq!(
        transaction["actor_ref"],
        json!({"type": "user", "id": "ada"})
    );
    assert_eq!(
        (
            &transaction["source"],
            &transaction["correlation_id"],
            &transaction["remote_ip"]
        ),
        (&json!("shop"), &json!("order-7"), &json!("192.0.2.7"))
    );
    assert_eq!(transaction["id"], insert["transaction_id"]);
    assert_eq!(
        moved["transaction"]["actor_ref"],
        json!({"type": "job", "id": "sweeper"})
    );
    assert_eq!(moved["transaction"]["on_behalf_of"]["id"], "ada");
    assert_eq!(
        (
            &insert["actions"][0]["name"],
            &insert["actions"][0]["reason"]
        ),
        (&json!("user.invited"), &json!("asked"))
    );
    assert_eq!(delete["actions"], json!([]));
}

/// A change is the same in every format.
#[test]
fn formats() {
    let (_database, mut conn) = with_changes();
    let changes = lines(&mut conn, timeline());
    let (whole, document) = exported(&mut conn, timeline(), ExportFormat::Json);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["changes"], Value::Array(changes));
    assert_eq!(
        (
            &document["format_version"],
            &document["returned_count"],
            &document["truncated"],
            &document["next"]
        ),
        (&json!(1), &json!(6), &json!(false), &Value::Null)
    );
    let generated_at = document["generated_at"].as_str().unwrap();
    assert_eq!(
        generated_at,
        whole
            .generated_at
            .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    );

    let (_, csv) = exported(&mut conn, timeline(), ExportFormat::Csv);
    let header = "id,transaction_id,table_schema,table_name,op,captured_at,table_pk,data_after,changed_fields,changed_from,\
                  transaction_json,row_key,moved_key,actions_json\r\n";
    assert!(csv.starts_with(header), "{csv}");
    assert_eq!(csv.matches("\r\n").count(), 7);
    let cells = csv.lines().nth(2).unwrap();
    assert!(cells.contains(r#","{""a"": 1, ""b"": ""x""}",{},"[""a"",""b""]","{""a"": 1, ""b"": ""x""}","{""id"":"""#), "{cells}");
    assert!(cells.ends_with(r#","""[1, \""x\""]""",,[]"#), "{cells}");
}

/// Nothing to export is a header, an empty list, an empty file.
#[test]
fn empty() {
    let (_database, mut conn) = audited();
    let nobody = timeline().actor(&ActorRef::user("nobody"));
    let of = |conn: &mut PgConnection, format| exported(conn, nobody.clone(), format);
    let (exported, csv) = of(&mut conn, ExportFormat::Csv);
    assert_eq!(
        (exported.changes, exported.first, exported.last),
        (0, None, None)
    );
    assert_eq!(csv.lines().count(), 1);
    let (_, json) = of(&mut conn, ExportFormat::Json);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["changes"], &json["filter"]["actor_ref"]["id"]),
        (&json!([]), &json!("nobody"))
    );
    assert_eq!(of(&mut conn, ExportFormat::Ndjson).1, "");
}

/// Names and redaction are those of today, on every image; what was recorded stays as it was.
#[test]
fn redacted_as_today() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, 'Grace', 'g', 1); UPDATE users SET name = 'Hopper', balance = 2;
         ALTER TABLE users RENAME name TO full_name; SELECT threadline.refresh_audited_tables();
         SELECT threadline.audit_table('users', mask => '{full_name}', exclude => '{balance}')",
    );
    let changes = lines(&mut conn, timeline());
    assert_eq!(
        changes[0]["data_after"],
        json!({"id": 1, "full_name": "[REDACTED]", "email": "[REDACTED]"})
    );
    assert_eq!(
        changes[0]["changed_from"],
        json!({"full_name": "[REDACTED]"})
    );
    assert_eq!(changes[0]["changed_fields"], json!(["full_name"]));
    assert_eq!(changes[1]["data_after"], changes[0]["data_after"]);
    for format in FORMATS {
        let (_, text) = exported(&mut conn, timeline(), format);
        assert!(
            !text.contains("Grace") && !text.contains("Hopper") && !text.contains("balance"),
            "{text}"
        );
    }
}

/// An export is of one moment, whatever is written and however long it takes; and it does not end before the last page.
#[test]
fn one_snapshot() {
    let (database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users SELECT n FROM generate_series(1, 12000) AS n",
    );
    let mut other = database.connect();
    let mut told = Vec::new();
    let mut bytes = Vec::new();
    let exported = timeline()
        .export(ExportFormat::Ndjson)
        .progress(|progress| {
            run(
                &mut other,
                "UPDATE users SET name = 'x' WHERE id < 10; DELETE FROM users WHERE id = 12000",
            );
            told.push(progress);
        })
        .write_to(&mut conn, &mut bytes)
        .unwrap();
    assert_eq!((exported.changes, exported.truncated), (12_000, false));
    let inserts = String::from_utf8(bytes)
        .unwrap()
        .matches(r#""op":"insert""#)
        .count();
    assert_eq!(inserts, 12_000);
    let changes: Vec<_> = told.iter().map(|progress| progress.changes).collect();
    assert!(
        changes.len() > 2 && changes.is_sorted() && changes.last() == Some(&12_000),
        "{changes:?}"
    );
    assert_eq!(Some(told.last().unwrap().position), exported.last);
    assert!(exported.settled_at <= exported.generated_at);
}

/// No more changes than were asked for; it says whether there are more, and what was left out begins at the last position.
#[test]
fn truncated() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users SELECT n FROM generate_series(1, 25) AS n",
    );
    for format in FORMATS {
        let mut keys = Vec::new();
        let mut position = None;
        loop {
            let part = timeline().table_named("users");
            let part = position.into_iter().fold(part, Timeline::before);
            let mut bytes = Vec::new();
            let exported = part
                .export(format)
                .limit(10)
                .write_to(&mut conn, &mut bytes)
                .unwrap();
            let text = String::from_utf8(bytes).unwrap();
            keys.extend(readers::ids(format, &text));
            if format == ExportFormat::Json {
                let json: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(json["truncated"], exported.truncated);
                assert_eq!(
                    json["next"],
                    exported
                        .last
                        .filter(|_| exported.truncated)
                        .map_or(Value::Null, |last| last.to_string().into())
                );
            }
            position = exported.last;
            if !exported.truncated {
                assert_eq!(exported.changes, 5);
                break;
            }
        }
        assert_eq!(keys, (1..=25).rev().collect::<Vec<i64>>());
    }
    // As many as there are is not too many.
    let of = |conn: &mut PgConnection, rows| {
        timeline()
            .export(ExportFormat::Csv)
            .limit(rows)
            .write_to(conn, std::io::sink())
            .unwrap()
    };
    assert!(!of(&mut conn, 25).truncated && of(&mut conn, 24).truncated);
    assert_eq!(
        (of(&mut conn, 0).changes, of(&mut conn, 0).truncated),
        (0, true)
    );
}
