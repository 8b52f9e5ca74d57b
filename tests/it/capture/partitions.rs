//! Law 3: a partitioned table is one table, wherever its rows lie and however they get there.

use super::{assert_no_gap, count, ops, texts};
use crate::common::{database, run};

pub(super) const TREE: &str = "CREATE TABLE t (region text, id int, name text, secret text DEFAULT 'SECRET', PRIMARY KEY (region, id)) PARTITION BY LIST (region);
    CREATE TABLE t_eu PARTITION OF t FOR VALUES IN ('eu') PARTITION BY RANGE (id);
    CREATE TABLE t_eu_low PARTITION OF t_eu FOR VALUES FROM (0) TO (100);
    CREATE TABLE t_eu_high (gone int, name text, secret text DEFAULT 'SECRET', id int NOT NULL, region text NOT NULL);
    ALTER TABLE t_eu_high DROP COLUMN gone; ALTER TABLE t_eu ATTACH PARTITION t_eu_high FOR VALUES FROM (100) TO (200);
    CREATE TABLE t_us PARTITION OF t FOR VALUES IN ('us') PARTITION BY HASH (id);
    CREATE TABLE t_us_0 PARTITION OF t_us FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE t_us_1 PARTITION OF t_us FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    SELECT threadline.audit_table('t', mask => '{secret}')";

/// Writes through the root, through a branch and straight to a leaf are all seen, also where columns lie differently.
#[test]
fn writes_anywhere() {
    let (_database, mut conn) = database(TREE);
    run(
        &mut conn,
        "INSERT INTO t SELECT r, g FROM unnest('{eu,us}'::text[]) AS r, generate_series(1, 20) AS g; INSERT INTO t VALUES ('eu', 150, 'x');
         INSERT INTO t_eu VALUES ('eu', 30); INSERT INTO t_eu_low VALUES ('eu', 31); INSERT INTO t_eu_high (region, id) VALUES ('eu', 131);
         UPDATE t SET name = 'n'; UPDATE t_eu SET name = 'm' WHERE id > 90; UPDATE t_us_1 SET name = 'l'; DELETE FROM t_eu_low WHERE id < 5;
         INSERT INTO t VALUES ('us', 1, 'c'), ('us', 77, 'c') ON CONFLICT (region, id) DO UPDATE SET name = excluded.name",
    );
    run(&mut conn, "ALTER TABLE t DROP COLUMN secret");
    let gaps = "SELECT count(*) FROM threadline.audit_changes WHERE op = 'insert'";
    assert_eq!(count(&mut conn, gaps), 45);
    run(&mut conn, "TRUNCATE t_us_1; TRUNCATE t_eu; TRUNCATE t");
    assert_eq!(
        count(
            &mut conn,
            "SELECT count(*) FROM threadline.audit_changes WHERE op = 'truncate'"
        ),
        41
    );
    assert_eq!(
        count(
            &mut conn,
            "SELECT count(DISTINCT row_key) FROM threadline.changes WHERE op = 'truncate'"
        ),
        41
    );
    assert_eq!(super::whole_record(&mut conn).find("SECRET"), None);
}

/// Partitions attached later are captured, TRUNCATE included, before the next refresh and after it; a detached one is not.
#[test]
fn younger_partitions() {
    let (_database, mut conn) = database(TREE);
    run(
        &mut conn,
        "ALTER TABLE t DROP COLUMN secret; CREATE TABLE t_as PARTITION OF t FOR VALUES IN ('as'); INSERT INTO t VALUES ('as', 1); INSERT INTO t_as VALUES ('as', 2); UPDATE t SET region = 'eu' WHERE id = 1;
         TRUNCATE t",
    );
    assert_no_gap(&mut conn, "t");
    run(
        &mut conn,
        "SELECT threadline.refresh_audited_tables(); INSERT INTO t_as VALUES ('as', 3); TRUNCATE t_as; INSERT INTO t_as VALUES ('as', 4); TRUNCATE t",
    );
    assert_no_gap(&mut conn, "t");
    assert_eq!(
        ops(&mut conn, "t")
            .iter()
            .filter(|op| op.starts_with("truncate"))
            .count(),
        4
    );
    let before = count(&mut conn, "SELECT count(*) FROM threadline.audit_changes");
    run(
        &mut conn,
        "ALTER TABLE t DETACH PARTITION t_as; SELECT threadline.refresh_audited_tables(); INSERT INTO t_as VALUES ('as', 5); TRUNCATE t_as",
    );
    assert_eq!(
        count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
        before
    );
    run(&mut conn, "SELECT threadline.unaudit_table('t')");
}

/// What tells a move from a delete and an insert does not depend on the settings of the session, nor on what functions
/// TRUNCATE of any part records each row once, also where partitions of partitions are younger than the last refresh.
#[test]
fn truncated_once() {
    let fill = "INSERT INTO t SELECT r, g FROM unnest('{eu,us,as}'::text[]) AS r, generate_series(50, 150, 50) AS g";
    for (truncated, expected) in [
        ("t", 9),
        ("t_eu", 3),
        ("t_us", 3),
        ("t_eu_low", 1),
        ("t_eu, t_us", 6),
        ("t, t_eu", 9),
    ] {
        let (_database, mut conn) = database(TREE);
        run(
            &mut conn,
            &format!(
                "ALTER TABLE t_eu DETACH PARTITION t_eu_high; CREATE TABLE t_eu_new PARTITION OF t_eu FOR VALUES FROM (100) TO (300) PARTITION BY RANGE (id);
                 CREATE TABLE t_eu_new_1 PARTITION OF t_eu_new FOR VALUES FROM (100) TO (120); CREATE TABLE t_eu_new_2 PARTITION OF t_eu_new DEFAULT;
                 CREATE TABLE t_as PARTITION OF t FOR VALUES IN ('as'); {fill}; TRUNCATE {truncated}"
            ),
        );
        for sql in ["SELECT", "SELECT threadline.refresh_audited_tables()"] {
            run(&mut conn, sql);
            run(
                &mut conn,
                &format!("{fill} ON CONFLICT DO NOTHING; TRUNCATE {truncated}"),
            );
        }
        let keys = texts(
            &mut conn,
            "SELECT row_key AS value FROM threadline.changes WHERE op = 'truncate'",
        );
        assert_eq!(keys.len(), expected * 3, "{truncated}: {keys:?}");
        let recorded = "SELECT count(*) FROM (SELECT DISTINCT ON (row_key) op FROM threadline.changes ORDER BY row_key, id DESC) AS c WHERE op <> 'truncate'";
        assert_eq!(
            count(&mut conn, recorded),
            count(&mut conn, "SELECT count(*) FROM t"),
            "{truncated}"
        );
    }
}

/// A partition that is detached takes its rows out of the table, and leaves their record.
#[test]
fn detached_partitions() {
    let (_database, mut conn) = database(TREE);
    run(
        &mut conn,
        "INSERT INTO t VALUES ('us', 1), ('us', 2); ALTER TABLE t DETACH PARTITION t_us; SELECT threadline.refresh_audited_tables(); UPDATE t_us SET name = 'x'; TRUNCATE t_us; INSERT INTO t VALUES ('eu', 1)",
    );
    assert_eq!(
        ops(&mut conn, "t"),
        [
            "insert [\"us\", 1]",
            "insert [\"us\", 2]",
            "insert [\"eu\", 1]"
        ]
    );
    assert_eq!(
        count(
            &mut conn,
            "SELECT count(*) FROM threadline.versions(NULL::t, 'us', 2)"
        ),
        1
    );
}
