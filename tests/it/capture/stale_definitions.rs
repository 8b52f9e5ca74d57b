//! Law 2: a stale definition records a harmless superset, and after the refresh old and new read alike.

use diesel::prelude::*;

use super::{GRANULARITIES, audit, count, ops, texts};
use crate::common::{database, run, text};

/// The row of each version of a table, as text, in order.
fn rows(conn: &mut PgConnection, table: &str) -> Vec<String> {
    texts(
        conn,
        &format!(
            "SELECT typed_row::text AS value FROM threadline.versions(NULL::{table}) ORDER BY id"
        ),
    )
}

fn stale(columns: &str, granularity: &str) -> (threadline_test_support::Database, PgConnection) {
    let (database, mut conn) = database(&format!("CREATE TABLE t ({columns})"));
    audit(&mut conn, "t", granularity);
    (database, conn)
}

/// Renames, in chains and with the old name given to another column, keep every old value under its present name.
#[test]
fn renames() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = stale("id int PRIMARY KEY, a text, b text", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, 'a', 'b');
             ALTER TABLE t RENAME b TO c; INSERT INTO t VALUES (2, 'a', 'b');
             ALTER TABLE t RENAME a TO b; INSERT INTO t VALUES (3, 'a', 'b');
             SELECT threadline.refresh_audited_tables(); INSERT INTO t VALUES (4, 'a', 'b');
             ALTER TABLE t ADD a text; UPDATE t SET a = 'new' WHERE id = 4;
             SELECT threadline.refresh_audited_tables(); DELETE FROM t WHERE id = 4",
        );
        assert_eq!(
            rows(&mut conn, "t"),
            [
                "(1,a,b,)",
                "(2,a,b,)",
                "(3,a,b,)",
                "(4,a,b,)",
                "(4,a,b,new)",
                "(4,a,b,new)"
            ]
        );
    }
}

/// Columns that exchange their names are told apart in every version, refreshed in between or not.
#[test]
fn exchanged_names() {
    for granularity in GRANULARITIES {
        for refresh in ["", "SELECT threadline.refresh_audited_tables();"] {
            let (_database, mut conn) = stale("id int PRIMARY KEY, a text, b text", granularity);
            run(
                &mut conn,
                "INSERT INTO t VALUES (1, 'a', 'b'); UPDATE t SET a = 'A'",
            );
            run(
                &mut conn,
                &format!(
                    "ALTER TABLE t RENAME a TO x; {refresh} ALTER TABLE t RENAME b TO a; {refresh} ALTER TABLE t RENAME x TO b; {refresh}"
                ),
            );
            run(&mut conn, "INSERT INTO t VALUES (2, 'a', 'b')");
            run(
                &mut conn,
                "SELECT threadline.refresh_audited_tables(); INSERT INTO t VALUES (3, 'a', 'b')",
            );
            assert_eq!(
                rows(&mut conn, "t"),
                ["(1,a,b)", "(1,A,b)", "(2,a,b)", "(3,a,b)"]
            );
        }
    }
}

/// Exchanging the key's name with another column's gives, after the refresh, every change to the right row.
#[test]
fn exchanged_key() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = stale("id int PRIMARY KEY, n int", granularity);
        run(&mut conn, "INSERT INTO t VALUES (1, 10)");
        run(
            &mut conn,
            "ALTER TABLE t RENAME id TO x; ALTER TABLE t RENAME n TO id; ALTER TABLE t RENAME x TO n",
        );
        run(
            &mut conn,
            "UPDATE t SET id = 20 WHERE n = 1; SELECT threadline.refresh_audited_tables(); UPDATE t SET id = 30 WHERE n = 1",
        );
        assert_eq!(
            texts(
                &mut conn,
                "SELECT typed_row::text AS value FROM threadline.versions(NULL::t, 1) ORDER BY id"
            )
            .first()
            .map(String::as_str),
            Some("(1,10)")
        );
    }
}

/// A renamed key, before the refresh and after it, is still the key.
#[test]
fn renamed_key() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = stale("id int PRIMARY KEY, name text", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, 'a'); ALTER TABLE t RENAME id TO number; UPDATE t SET name = 'b'; UPDATE t SET number = 2;
             SELECT threadline.refresh_audited_tables(); DELETE FROM t",
        );
        assert_eq!(
            ops(&mut conn, "t"),
            [
                "insert 1",
                "update 1",
                "delete 1>2",
                "insert 2>1",
                "delete 2"
            ]
        );
        assert_eq!(
            texts(
                &mut conn,
                "SELECT typed_row::text AS value FROM threadline.versions(NULL::t, 1) ORDER BY id"
            ),
            ["(1,a)", "(1,b)", "(1,b)"]
        );
    }
}

/// A key of another type is recorded as what it is now, and after the refresh all of its history is found by it.
#[test]
fn retyped_key() {
    for granularity in GRANULARITIES {
        for (before, value, after, using, bound) in [
            ("int", "7", "bigint", "id", "7::bigint"),
            ("bigint", "7", "int", "id", "7"),
            ("int", "7", "text", "id", "'7'::text"),
            ("int", "7", "numeric", "id", "7.0::numeric"),
            ("bigint", "7", "numeric(10, 2)", "id", "7::numeric"),
            ("text", "'7'", "int", "id::int", "7"),
            ("numeric", "7.0", "int", "id", "7"),
            (
                "uuid",
                "'00000000-0000-0000-0000-000000000007'",
                "text",
                "id",
                "'00000000-0000-0000-0000-000000000007'::text",
            ),
            (
                "text",
                "'00000000-0000-0000-0000-000000000007'",
                "uuid",
                "id::uuid",
                "'00000000-0000-0000-0000-000000000007'::uuid",
            ),
        ] {
            let (_database, mut conn) =
                stale(&format!("id {before} PRIMARY KEY, name text"), granularity);
            run(
                &mut conn,
                &format!(
                    "INSERT INTO t VALUES ({value}, 'a'); ALTER TABLE t ALTER id TYPE {after} USING {using}; UPDATE t SET name = 'b';
                     SELECT threadline.refresh_audited_tables(); UPDATE t SET name = 'c'"
                ),
            );
            assert_eq!(
                texts(
                    &mut conn,
                    &format!(
                        "SELECT \"row\" ->> 'name' AS value FROM threadline.versions(NULL::t, {bound}) ORDER BY id"
                    )
                ),
                ["a", "b", "c"],
                "{before} to {after}"
            );
        }
        let (_database, mut conn) = stale("id bigint PRIMARY KEY", granularity);
        run(
            &mut conn,
            "ALTER TABLE t ALTER id TYPE numeric; INSERT INTO t VALUES (1), (1.5), (1e30), ('NaN'); UPDATE t SET id = id + 0.25; DELETE FROM t",
        );
        assert_eq!(
            count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
            14
        );
    }
}

/// Dropping the key column stops no write; what follows is recorded without a key.
#[test]
fn dropped_key() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = stale("id int PRIMARY KEY, name text", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, 'a'); ALTER TABLE t DROP id; INSERT INTO t VALUES ('b'); UPDATE t SET name = name || '!'; DELETE FROM t WHERE name = 'b!'",
        );
        assert_eq!(
            ops(&mut conn, "t"),
            ["insert 1", "insert", "update", "update", "delete"]
        );
        run(
            &mut conn,
            "SELECT threadline.refresh_audited_tables(); TRUNCATE t",
        );
        assert_eq!(rows(&mut conn, "t").len(), 6);
    }
}

/// A column added since the last refresh is recorded, and updates that change nothing still record nothing.
#[test]
fn added_columns() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = stale("id int PRIMARY KEY, doc json", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, '{\"a\": 1}');
             ALTER TABLE t ADD kind text NOT NULL DEFAULT 'it''s \"%s\" \\', ADD at timestamptz NOT NULL DEFAULT '2020-01-02 03:04:05+00',
               ADD list int[] NOT NULL DEFAULT '{1,2}', ADD span daterange NOT NULL DEFAULT '[2020-01-02,2020-02-03)', ADD flag bool NOT NULL DEFAULT true;
             UPDATE t SET kind = kind, doc = '{\"a\":   1}', id = id; INSERT INTO t VALUES (2);
             UPDATE t SET kind = 'other' WHERE id = 2",
        );
        assert_eq!(ops(&mut conn, "t"), ["insert 1", "insert 2", "update 2"]);
        assert_eq!(
            text(
                &mut conn,
                "SELECT changed_from FROM threadline.audit_changes WHERE op = 'update'"
            )
            .as_deref(),
            Some(r#"{"kind": "it's \"%s\" \\"}"#)
        );
        run(
            &mut conn,
            "SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo'; SELECT threadline.refresh_audited_tables(); SET DateStyle = 'ISO'; UPDATE t SET kind = 'last'",
        );
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.versions(NULL::t) AS v WHERE (v.typed_row).at = '2020-01-02 03:04:05+00' AND (v.typed_row).list = '{1,2}'
                    AND (v.typed_row).span = '[2020-01-02,2020-02-03)' AND (v.typed_row).flag AND (v.typed_row).kind IN (E'it''s \"%s\" \\\\', 'other', 'last')"
            ),
            5
        );
    }
}
