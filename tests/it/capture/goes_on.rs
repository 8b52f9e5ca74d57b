//! Law 9: the audit log goes on when its table is renamed, moved, created again or given another key.

use super::{GRANULARITIES, audit, count, ops, texts};
use crate::common::{database, run, text};

/// `unaudit_table` ends capture and keeps record and versions; auditing again begins a new `capture_since`.
#[test]
fn unaudit_and_audit_again() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database("CREATE TABLE t (id int PRIMARY KEY, n int)");
        audit(&mut conn, "t", granularity);
        let since =
            "SELECT extract(epoch FROM capture_since) * 1000000 FROM threadline.audited_tables";
        let first = count(&mut conn, since);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, 0); SELECT threadline.unaudit_table('t'); UPDATE t SET n = 1; TRUNCATE t; INSERT INTO t VALUES (1, 2)",
        );
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.versions(NULL::t, 1)"
            ),
            1
        );
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.audited_tables WHERE capture_ended_at >= capture_since"
            ),
            1
        );
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM pg_proc WHERE prorettype = 'trigger'::regtype AND proname LIKE 'capture\\_%'"
            ),
            0
        );
        assert_eq!(
            count(&mut conn, "SELECT threadline.refresh_audited_tables()"),
            0
        );
        audit(&mut conn, "t", granularity);
        run(&mut conn, "UPDATE t SET n = 3");
        assert_eq!(ops(&mut conn, "t"), ["insert 1", "update 1"]);
        assert!(count(&mut conn, since) > first);
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.audited_tables WHERE capture_ended_at IS NULL AND id = 1"
            ),
            1
        );
    }
}

/// A table that is dropped and created again goes on with the audit log of its name, from a new `capture_since`.
#[test]
fn created_again() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database("CREATE TABLE t (a text, id int PRIMARY KEY)");
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES ('old', 1); DROP TABLE t CASCADE; CREATE TABLE t (id int PRIMARY KEY, a text, b int DEFAULT 5)",
        );
        audit(&mut conn, "t", granularity);
        run(&mut conn, "INSERT INTO t VALUES (1, 'new')");
        let rows = texts(
            &mut conn,
            "SELECT concat((typed_row).id, (typed_row).a) AS value FROM threadline.versions(NULL::t, 1) ORDER BY id",
        );
        assert_eq!(rows, ["1old", "1new"]);
        let later = "SELECT count(*) FROM threadline.audited_tables WHERE capture_since > (SELECT min(captured_at) FROM threadline.audit_changes)";
        assert_eq!(count(&mut conn, later), 1);
    }
}

/// A table that is renamed or moved to another schema keeps its record, before and after a refresh.
#[test]
fn renamed_and_moved() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) =
            database("CREATE TABLE t (id int PRIMARY KEY, n int); CREATE SCHEMA \"S s\"");
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1); ALTER TABLE t RENAME TO \"T t\"; UPDATE \"T t\" SET n = 1; ALTER TABLE \"T t\" SET SCHEMA \"S s\"; UPDATE \"S s\".\"T t\" SET n = 2",
        );
        let named = "SELECT count(*) FROM threadline.changes WHERE table_schema = 'S s' AND table_name = 'T t'";
        assert_eq!(count(&mut conn, named), 3);
        run(
            &mut conn,
            "SELECT threadline.refresh_audited_tables(); TRUNCATE \"S s\".\"T t\"; CREATE TABLE t (id int PRIMARY KEY)",
        );
        audit(&mut conn, "t", granularity);
        run(&mut conn, "INSERT INTO t VALUES (1)");
        assert_eq!(
            ops(&mut conn, "\"S s\".\"T t\""),
            ["insert 1", "update 1", "update 1", "truncate 1"]
        );
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.versions(NULL::\"S s\".\"T t\", 1)"
            ),
            4
        );
        assert_eq!(ops(&mut conn, "t"), ["insert 1"]);
    }
}

/// When the primary key changes, older keys are written anew: the history of a row stays whole.
#[test]
fn another_primary_key() {
    for granularity in GRANULARITIES {
        for (change, key, columns) in [
            (
                "ALTER TABLE t ALTER id TYPE bigint",
                "1::bigint",
                "key_bigint",
            ),
            ("ALTER TABLE t ALTER id TYPE text", "'1'", "key_text"),
            (
                "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, name)",
                "1, 'a'",
                "key_text",
            ),
            (
                "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (name)",
                "'a'",
                "key_text",
            ),
            (
                "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t RENAME id TO x; ALTER TABLE t RENAME name TO id; ALTER TABLE t ADD PRIMARY KEY (id)",
                "'a'",
                "key_text",
            ),
        ] {
            let (_database, mut conn) =
                database("CREATE TABLE t (id int PRIMARY KEY, name text, n int)");
            audit(&mut conn, "t", granularity);
            run(
                &mut conn,
                "INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0); UPDATE t SET n = 1",
            );
            run(&mut conn, change);
            run(
                &mut conn,
                "UPDATE t SET n = 2; SELECT threadline.refresh_audited_tables(); UPDATE t SET n = 3; DELETE FROM t WHERE n = 3",
            );
            let ops = text(
                &mut conn,
                &format!(
                    "SELECT string_agg(op, ' ' ORDER BY id) FROM threadline.versions(NULL::t, {key})"
                ),
            );
            assert_eq!(
                ops.as_deref(),
                Some("insert update update update delete"),
                "{change}"
            );
            assert_eq!(
                count(
                    &mut conn,
                    &format!(
                        "SELECT count(*) FROM threadline.audit_changes WHERE {columns} IS NOT NULL AND num_nonnulls(key_integer, key_bigint, key_uuid, key_text) = 1"
                    )
                ),
                10
            );
        }
    }
}
