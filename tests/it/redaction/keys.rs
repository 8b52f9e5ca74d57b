//! Records are found by keys of every type, through the indexes.

use serde_json::json;
use threadline::redact;

use super::{done, stored};
use crate::common::{database, run, text};

/// Keys of every type that the audit log has, composite ones, and names that need quotes.
#[test]
fn types() {
    for (columns, first, second, key) in [
        ("id smallint PRIMARY KEY", "1", "2", "1"),
        ("id int PRIMARY KEY", "-1", "1", "-1"),
        (
            "id bigint PRIMARY KEY",
            "9223372036854775807",
            "1",
            "9223372036854775807",
        ),
        (
            "id text PRIMARY KEY",
            "'it''s 100%s'",
            "'other'",
            "it's 100%s",
        ),
        (
            "id text PRIMARY KEY",
            "repeat('x', 2000)",
            "repeat('x', 1999)",
            &"x".repeat(2000),
        ),
        ("id numeric PRIMARY KEY", "1.50", "1.5001", "1.5"),
        (
            "id date PRIMARY KEY",
            "'2026-01-02'",
            "'2026-01-03'",
            "2026-01-02",
        ),
        (
            "id uuid PRIMARY KEY",
            "'00000000-0000-0000-0000-00000000000a'",
            "'00000000-0000-0000-0000-00000000000b'",
            "00000000-0000-0000-0000-00000000000a",
        ),
        (
            "id int, \"K 2\" text, PRIMARY KEY (id, \"K 2\")",
            "1, 'x, y'",
            "1, 'x'",
            &json!([1, "x, y"]).to_string().replace("1,", "1, "),
        ),
    ] {
        let (_database, mut conn) = database(&format!(
            r#"CREATE SCHEMA "Odd"; CREATE TABLE "Odd"."T%s ""1" ({columns}, "E mail" text); SELECT threadline.audit_table('"Odd"."T%s ""1"');
               INSERT INTO "Odd"."T%s ""1" VALUES ({first}, 'secret'), ({second}, 'kept'); UPDATE "Odd"."T%s ""1" SET "E mail" = "E mail" || ' 2'; DELETE FROM "Odd"."T%s ""1""#
        ));
        let before = stored(
            &mut conn,
            "data_after ->> 'E mail' LIKE 'kept%' OR changed_from ->> 'E mail' LIKE 'kept%'",
        );
        let redacted = done(
            &mut conn,
            redact(r#""Odd"."T%s ""1""#).row(key).mask(["E mail"]),
        );
        assert_eq!(
            (redacted.rows, redacted.changes, redacted.values),
            (1, 3, 4),
            "{columns} {key}"
        );
        assert!(!stored(&mut conn, "true").contains("secret"));
        assert_eq!(
            stored(
                &mut conn,
                "data_after ->> 'E mail' LIKE 'kept%' OR changed_from ->> 'E mail' LIKE 'kept%'"
            ),
            before
        );
    }
}

/// An update of the key ends one record and begins another, with both of which it is told; named, both are redacted. What else has
/// had the key is of another record.
#[test]
fn moved() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, a text); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 'secret');
         UPDATE t SET id = 2, a = 'secret 2'; UPDATE t SET id = 3; INSERT INTO t VALUES (7, 'kept')",
    );
    let plan = redact("t").row(2).mask(["a"]).plan(&mut conn).unwrap();
    assert_eq!(
        (plan.changes, plan.moved_keys),
        (2, vec!["1".into(), "3".into()])
    );
    let redacted = done(&mut conn, redact("t").row(2).mask(["a"]).batch_size(1));
    assert_eq!(redacted.moved_keys, ["1", "3"]);
    assert!(stored(&mut conn, "true").contains("secret"));
    let redacted = done(&mut conn, redact("t").keys(1..=3).mask(["a"]));
    assert_eq!((redacted.changes, redacted.moved_keys.len()), (3, 0));
    assert!(!stored(&mut conn, "true").contains("secret"));
    assert!(stored(&mut conn, "key = '7'").contains("kept"));
}

/// The changes of a partitioned table's row, on both sides of a move between partitions: nothing links its two keys.
#[test]
fn partitions() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int, p int, a text, PRIMARY KEY (id, p)) PARTITION BY LIST (p); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
         CREATE TABLE t2 PARTITION OF t DEFAULT; SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 1, 'secret'); UPDATE t SET p = 2",
    );
    done(
        &mut conn,
        redact("t").keys(["[1, 1]", "[1, 2]"]).mask(["a"]),
    );
    assert!(!stored(&mut conn, "true").contains("secret"));
}

/// The audit log is not scanned, however large it is: neither for the changes nor to write them.
#[test]
fn by_the_indexes() {
    for (key, of) in [("int", "n"), ("text", "n::text")] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (id {key} PRIMARY KEY, a text); SELECT threadline.audit_table('t');
             INSERT INTO t SELECT {of}, 'secret' FROM generate_series(1, 20000) AS n; ANALYZE threadline.audit_changes"
        ));
        // PostgreSQL writes figures at once when asked to, which it can be since version 15, and else within a second.
        let scans = "DO $$BEGIN
            IF current_setting('server_version_num')::integer < 150000 THEN PERFORM pg_sleep(1);
            ELSE PERFORM pg_stat_force_next_flush(); END IF;
        END$$; SELECT pg_sleep(CASE WHEN current_setting('server_version_num')::integer < 150000 THEN 1 ELSE 0 END)";
        let read = "SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relid IN (SELECT relid FROM pg_partition_tree('threadline.audit_changes'))";
        run(&mut conn, scans);
        let before = text(&mut conn, read);
        done(&mut conn, redact("t").keys([5, 500]).mask(["a"]));
        run(&mut conn, scans);
        assert_eq!(text(&mut conn, read), before, "{key}");
    }
}
