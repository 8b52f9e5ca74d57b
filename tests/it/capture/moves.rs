//! Law 3 on partitioned tables: a row that moves to another partition is deleted from one and inserted into the other,
//! as PostgreSQL does it, and nothing links the two that an application could forge.

use super::partitions::TREE;
use super::{assert_no_gap, ops};
use crate::common::{database, run, text};

#[test]
fn moves() {
    let (_database, mut conn) = database(TREE);
    run(
        &mut conn,
        "ALTER TABLE t DROP COLUMN secret; INSERT INTO t VALUES ('eu', 1), ('eu', 2), ('us', 3);
         UPDATE t SET region = 'us', name = 'moved' WHERE region = 'eu'",
    );
    assert_eq!(
        ops(&mut conn, "t")[3..],
        [
            r#"delete ["eu", 1]"#,
            r#"insert ["us", 1]"#,
            r#"delete ["eu", 2]"#,
            r#"insert ["us", 2]"#,
        ]
    );
    assert_no_gap(&mut conn, "t");
}

/// Without a primary key as well.
#[test]
fn moves_without_key() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (n int, name text, secret text) PARTITION BY RANGE (n);
         CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (20);
         SELECT threadline.audit_table('t', mask => '{secret}');
         INSERT INTO t VALUES (1, 'a', 'SECRET'); UPDATE t SET n = 11",
    );
    assert_eq!(ops(&mut conn, "t"), ["insert", "delete", "insert"]);
    assert_eq!(
        text(
            &mut conn,
            "SELECT string_agg(concat(data_after, changed_from), ' ' ORDER BY id) FROM threadline.audit_changes"
        )
        .as_deref(),
        Some(
            r#"{"n": 1, "name": "a", "secret": "[REDACTED]"} {"n": 1, "name": "a", "secret": "[REDACTED]"} {"n": 11, "name": "a", "secret": "[REDACTED]"}"#
        )
    );
    assert_eq!(super::whole_record(&mut conn).find("SECRET"), None);
}

/// Whatever the settings of ours say, what is recorded stays as it was recorded.
#[test]
fn settings_forge_no_moves() {
    for (key, written) in [("", "update"), (", PRIMARY KEY (n)", "delete 1>9")] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (n int, amount int{key}) PARTITION BY RANGE (n);
             CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (5); CREATE TABLE high PARTITION OF t FOR VALUES FROM (5) TO (20);
             SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 1000000)",
        ));
        run(
            &mut conn,
            "DO $$ DECLARE c record; depth int; BEGIN
               DELETE FROM t WHERE n = 1;
               SELECT id, captured_at, table_id INTO c FROM threadline.audit_changes WHERE op = 'delete';
               FOR depth IN 0..3 LOOP
                 PERFORM set_config('threadline.inserting_' || depth, '', true), set_config('threadline.moving_' || depth,
                   concat_ws('|', c.table_id, statement_timestamp(), c.id, c.captured_at), true);
               END LOOP;
               INSERT INTO t SELECT 9, 3 FROM (SELECT set_config('threadline.inserting_1', '', true), set_config('threadline.moving_1',
                 concat_ws('|', c.table_id, statement_timestamp(), c.id, c.captured_at), true) OFFSET 0) AS forged;
             END $$",
        );
        let seen = ops(&mut conn, "t");
        assert!(!seen.contains(&written.to_owned()), "{seen:?}");
        assert!(!seen.iter().any(|op| op.contains('>')), "{seen:?}");
        assert_eq!(seen.len(), 3);
        assert_eq!(
            text(
                &mut conn,
                "SELECT changed_from ->> 'amount' FROM threadline.audit_changes WHERE op = 'delete'"
            )
            .as_deref(),
            Some("1000000")
        );
    }
}
