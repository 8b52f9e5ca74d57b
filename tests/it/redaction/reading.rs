//! Whatever reads the past goes on to: with what stands there now.

use chrono::NaiveDate;
use diesel::prelude::*;
use threadline::prelude::*;
use threadline::{ExportFormat, RowAsOf, TimelineEntry, Version, redact};

use super::{committed, done, each};
use crate::common::{run, text};
use crate::skipped::since;

diesel::table! {
    people {
        id -> Int4,
        name -> Text,
        short -> Text,
        born -> Date,
        n -> Int4,
        tags -> Array<Text>,
        maybe -> Nullable<Date>,
        data -> Nullable<Jsonb>,
    }
}

#[derive(Queryable, Selectable, Audited, Debug, Clone, PartialEq)]
#[diesel(table_name = people)]
struct Person {
    id: i32,
    name: String,
    short: String,
    born: NaiveDate,
    n: i32,
    tags: Vec<String>,
    maybe: Option<NaiveDate>,
    data: Option<serde_json::Value>,
}

const TABLE: &str = "CREATE DOMAIN few AS int CHECK (value < 100);
    CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, short varchar(5) NOT NULL, born date NOT NULL, n few NOT NULL, tags text[] NOT NULL,
      maybe date, data jsonb);
    SELECT threadline.audit_table('people');
    INSERT INTO people SELECT n, 'secret', 's3cr', '1815-12-10', 42, '{secret}', '1815-12-11', '{\"a\": \"secret\"}' FROM generate_series(1, 2) AS n;
    UPDATE people SET name = 'secret 2', maybe = NULL, tags = '{secret,again}'; DELETE FROM people WHERE id = 1";

fn redacted() -> Person {
    let born = NaiveDate::from_ymd_opt(1900, 1, 1).unwrap();
    Person {
        id: 1,
        name: "[REDACTED]".into(),
        short: "-".into(),
        born,
        n: 0,
        tags: Vec::new(),
        maybe: None,
        data: None,
    }
}

/// History, the past of the row and of the whole table, the timeline, diffs, exports, and bringing it back.
#[test]
fn goes_on() {
    let (_database, mut conn) = committed(TABLE);
    let redaction = redact("people")
        .row(1)
        .mask(["name"])
        .remove(["maybe", "data"])
        .substitute("short", "-")
        .substitute("born", "1900-01-01")
        .substitute("n", 0)
        .substitute("tags", serde_json::json!([]));
    let others = "SELECT string_agg(v::text, ';' ORDER BY id) FROM threadline.versions(NULL::people, 2) AS v";
    let before = text(&mut conn, others);
    done(&mut conn, redaction);
    assert_eq!(text(&mut conn, others), before);

    let versions: Vec<Version<Person>> = Person::history(1).load(&mut conn).unwrap();
    assert_eq!(versions.len(), 3);
    for version in &versions {
        assert_eq!(version.row, redacted());
        assert!(!format!("{version:?}").contains("secret"));
    }
    let fields: Vec<_> = versions[1].change.changed_fields.iter().collect();
    assert_eq!(fields, ["name", "tags", "maybe"]);

    let at = versions[2].change.captured_at;
    let then: RowAsOf<Person> = Person::as_of(1, at).get_result(&mut conn).unwrap();
    assert!(
        matches!(&then, RowAsOf::Found(row) if *row == redacted()),
        "{then:?}"
    );
    let all = threadline::as_of(
        at,
        people::table.select(Person::as_select()).order(people::id),
    );
    let all: Vec<Person> = all.load(&mut conn).unwrap();
    assert_eq!((&all[0], &*all[1].name), (&redacted(), "secret"));

    let entries: Vec<TimelineEntry> = threadline::timeline().load(&mut conn).unwrap();
    assert_eq!(entries.len(), 5);
    let mut csv = Vec::new();
    let exported = threadline::timeline()
        .table(people::table)
        .row_key("1")
        .export(ExportFormat::Csv)
        .write_to(&mut conn, &mut csv)
        .unwrap();
    assert_eq!(exported.changes, 3);
    assert!(!String::from_utf8(csv).unwrap().contains("secret"));

    versions[1]
        .restore()
        .discard_later_changes()
        .run(&mut conn)
        .unwrap();
    let back: Person = people::table
        .find(1)
        .select(Person::as_select())
        .first(&mut conn)
        .unwrap();
    assert_eq!(back, redacted());
}

/// The row that is still there is none of its business, and the past of the others neither.
#[test]
fn live_rows_stay() {
    let (_database, mut conn) = committed(TABLE);
    let before_last = "SELECT string_agg(concat(id, name, n), ' ' ORDER BY id) FROM threadline.as_of(NULL::people, threadline.before_transaction(
        (SELECT transaction_id FROM threadline.changes WHERE op = 'delete')))";
    run(&mut conn, "UPDATE people SET name = 'cleaned'");
    done(&mut conn, redact("people").row(2).mask(["name"]));
    assert_eq!(
        text(&mut conn, "SELECT name FROM people").unwrap(),
        "cleaned"
    );
    assert_eq!(
        text(&mut conn, before_last).unwrap(),
        "1secret 242 2[REDACTED]42"
    );
}

/// Contexts, of the transaction and of a nested one, and actions are not touched.
#[test]
fn contexts_stay() {
    let (_database, mut conn) = committed(TABLE);
    let outer = AuditContext::new(ActorRef::user("secret")).correlation_id("secret");
    let inner = AuditContext::new(ActorRef::user("secret inner"));
    conn.audited_transaction(&outer, |conn| {
        diesel::update(people::table)
            .set(people::n.eq(1))
            .execute(conn)?;
        NewAction::new("person.changed")
            .comment("secret")
            .record(conn)?;
        conn.audited_transaction(&inner, |conn| {
            diesel::update(people::table)
                .set(people::n.eq(2))
                .execute(conn)?;
            Ok::<_, threadline::Error>(())
        })
    })
    .unwrap();
    let known = "SELECT concat((SELECT string_agg(concat(context), ' ' ORDER BY id) FROM threadline.audit_changes),
        (SELECT string_agg(t::text, ' ' ORDER BY t.id) FROM threadline.audit_transactions AS t WHERE EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.transaction_id = t.id)),
        (SELECT string_agg(a::text, ' ') FROM threadline.audit_actions AS a WHERE name = 'person.changed'))";
    let before = text(&mut conn, known);
    assert!(
        before
            .as_ref()
            .is_some_and(|before| before.contains("secret inner"))
    );
    assert!(done(&mut conn, redact("people").row(2).mask(["name"])).changes > 0);
    assert_eq!(text(&mut conn, known), before);
}

/// A virtual generated column is computed from what stands there; it is in no image itself.
#[test]
fn computed_columns() {
    let (_database, mut conn) = committed("");
    if !since(&mut conn, 18, "a virtual generated column") {
        return;
    }
    each(
        &mut conn,
        "CREATE TABLE t (id int PRIMARY KEY, name text, lower text GENERATED ALWAYS AS (lower(name)) VIRTUAL); SELECT threadline.audit_table('t');
         INSERT INTO t VALUES (1, 'Secret'); UPDATE t SET name = 'x'",
    );
    done(&mut conn, redact("t").row(1).mask(["name", "lower"]));
    let past = "SELECT string_agg(concat(name, lower), ' ') FROM threadline.as_of(NULL::t, threadline.before_transaction((SELECT transaction_id FROM threadline.changes WHERE op = 'update')))";
    assert_eq!(text(&mut conn, past).unwrap(), "[REDACTED][redacted]");
}
