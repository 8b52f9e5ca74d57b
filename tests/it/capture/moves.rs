//! Law 3: a row that moves to another partition stays one record, and nothing else is taken for a move.

use super::partitions::TREE;
use super::{assert_no_gap, count, ops};
use crate::common::{database, run, text};

/// A row that moves to another partition stays one record: delete and insert name each other.
#[test]
fn moves() {
    let (_database, mut conn) = database(TREE);
    run(
        &mut conn,
        "ALTER TABLE t DROP COLUMN secret; INSERT INTO t VALUES ('eu', 1), ('eu', 2), ('us', 3)",
    );
    run(
        &mut conn,
        "UPDATE t SET region = 'us', name = 'moved' WHERE region = 'eu'; UPDATE t SET id = id + 100, region = 'eu'",
    );
    assert_eq!(
        ops(&mut conn, "t")[3..7],
        [
            "delete [\"eu\", 1]>[\"us\", 1]",
            "insert [\"us\", 1]>[\"eu\", 1]",
            "delete [\"eu\", 2]>[\"us\", 2]",
            "insert [\"us\", 2]>[\"eu\", 2]"
        ]
    );
    assert_eq!(
        count(
            &mut conn,
            "SELECT count(*) FROM threadline.audit_changes WHERE moved_key IS NULL"
        ),
        3
    );
    assert_no_gap(&mut conn, "t");
}

/// A delete followed by an insert is no move, in whatever statement, function or trigger they stand.
#[test]
fn no_false_moves() {
    let (_database, mut conn) = database(TREE);
    run(
        &mut conn,
        "ALTER TABLE t DROP COLUMN secret; INSERT INTO t SELECT 'eu', g FROM generate_series(1, 9) AS g",
    );
    run(
        &mut conn,
        "DO $$ BEGIN DELETE FROM t WHERE id = 1; INSERT INTO t VALUES ('us', 1); DELETE FROM t_eu_low WHERE id = 2; INSERT INTO t_us VALUES ('us', 2); END $$;
         WITH d AS (DELETE FROM t WHERE id = 3 RETURNING *) INSERT INTO t SELECT 'us', id FROM d;
         WITH d AS (DELETE FROM t WHERE id = 4 RETURNING *) INSERT INTO t_us_0 SELECT 'us', 4 FROM d WHERE false",
    );
    run(
        &mut conn,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.name = 'go' THEN INSERT INTO t VALUES ('us', NEW.id + 1000, 'inner'); DELETE FROM t WHERE region = 'eu' AND id = NEW.id - 1000; END IF; RETURN NULL; END $$;
         CREATE TRIGGER f AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
         INSERT INTO t VALUES ('us', 1005, 'go'), ('us', 1006, 'go')",
    );
    if super::server_version(&mut conn) >= 150_000 {
        run(
            &mut conn,
            "MERGE INTO t USING (VALUES ('eu', 7), ('xx', 107)) AS s (region, id) ON (t.region, t.id) = (s.region, s.id)
               WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (region, id) VALUES ('us', s.id)",
        );
    }
    assert_eq!(
        ops(&mut conn, "t")
            .into_iter()
            .filter(|op| op.contains('>'))
            .collect::<Vec<_>>(),
        [] as [&str; 0]
    );
    assert_no_gap(&mut conn, "t");
}

/// Without a primary key, a row that moves to another partition is one update.
#[test]
fn moves_without_key() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (n int, name text, secret text) PARTITION BY RANGE (n);
         CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (20);
         SELECT threadline.audit_table('t', mask => '{secret}');
         INSERT INTO t VALUES (1, 'a', 'SECRET'), (2, 'b', 'SECRET')",
    );
    run(
        &mut conn,
        "UPDATE t SET n = n + 9; UPDATE t SET n = 3, name = 'B' WHERE n = 11",
    );
    assert_eq!(
        ops(&mut conn, "t"),
        ["insert", "insert", "update", "update", "update"]
    );
    assert_eq!(
        text(&mut conn, "SELECT concat(data_after, changed_from) FROM threadline.audit_changes ORDER BY id DESC LIMIT 1").as_deref(),
        Some(r#"{"n": 3, "name": "B", "secret": "[REDACTED]"}{"n": 11, "name": "b"}"#)
    );
    run(
        &mut conn,
        "DO $$ BEGIN DELETE FROM t WHERE n = 3; INSERT INTO t VALUES (4); END $$",
    );
    assert_eq!(ops(&mut conn, "t")[5..], ["delete", "insert"]);
    assert_eq!(super::whole_record(&mut conn).find("SECRET"), None);
}

/// that an INSERT calls insert elsewhere.
#[test]
fn no_false_moves_whatever_runs_beside() {
    for settings in [
        "SET TimeZone = 'Asia/Tokyo'",
        "SET DateStyle = 'German'",
        "SET DateStyle = 'SQL, DMY'",
    ] {
        for key in ["", ", PRIMARY KEY (n)"] {
            let (_database, mut conn) = database(&format!(
                "CREATE TABLE t (n int, name text{key}) PARTITION BY RANGE (n);
                 CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (20);
                 CREATE TABLE log (n int) PARTITION BY RANGE (n); CREATE TABLE log_all PARTITION OF log DEFAULT;
                 CREATE FUNCTION logged(n int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (n) RETURNING n';
                 CREATE FUNCTION beside(n int) RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (n + 1) RETURNING n - 1';
                 SELECT threadline.audit_table('t'), threadline.audit_table('log'); {settings}; INSERT INTO t VALUES (1, 'a')",
            ));
            run(
                &mut conn,
                "DO $$ BEGIN DELETE FROM t; INSERT INTO t VALUES (11); END $$;
                 DO $$ BEGIN DELETE FROM t; INSERT INTO t VALUES (logged(2)); END $$;
                 DO $$ BEGIN DELETE FROM t; INSERT INTO t VALUES (beside(13)); END $$;
                 WITH d AS (DELETE FROM t RETURNING n) INSERT INTO t SELECT logged(n) - 9 FROM d WHERE n = 14;
                 WITH l AS (INSERT INTO log VALUES (1) RETURNING n), d AS (DELETE FROM t RETURNING t.n) INSERT INTO t SELECT 15 FROM l, d;
                 DO $$ BEGIN DELETE FROM t; BEGIN INSERT INTO t VALUES (99); EXCEPTION WHEN OTHERS THEN INSERT INTO t VALUES (16); END; END $$",
            );
            let seen = ops(&mut conn, "t");
            let moved = |op: &String| op.contains('>') || op.starts_with("update");
            assert!(!seen.iter().any(moved), "{settings}: {seen:?}");
            assert_eq!(seen.len(), 15);
            run(&mut conn, "UPDATE t SET n = 3");
            let last = ops(&mut conn, "t").split_off(15);
            let expected = if key.is_empty() {
                vec!["update"]
            } else {
                vec!["delete 16>3", "insert 3>16"]
            };
            assert_eq!(last, expected, "{settings}");
        }
    }
}
