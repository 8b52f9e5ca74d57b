//! Law 4: one group per transaction under every kind of transaction, and in a restored dump.

use threadline_test_support::Database;

use super::one_group::{groups, two_tables};
use super::{assert_no_gap, count, texts, whole_record};
use crate::common::{database, run, text};
use crate::restores::{dump, run_dump};

/// Serializable transactions that write different rows do not fail because of capture, and are grouped right.
#[test]
fn serializable() {
    for partitioned in [false, true] {
        let database = Database::new();
        let mut conn = database.connect();
        for writer in 0..4 {
            let partitions = format!(
                " PARTITION BY LIST (id); CREATE TABLE w{writer}_default PARTITION OF w{writer} DEFAULT"
            );
            run(
                &mut conn,
                &format!(
                    "CREATE TABLE w{writer} (id int PRIMARY KEY, n int){}; SELECT threadline.audit_table('w{writer}')",
                    if partitioned { &partitions } else { "" }
                ),
            );
        }
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let mut conn = database.connect();
                scope.spawn(move || {
                    for id in 1..=40 {
                        run(
                            &mut conn,
                            &format!(
                                "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO w{writer} VALUES ({id}, 0); SAVEPOINT s;
                                 UPDATE w{writer} SET n = {id} WHERE id = {id}; ROLLBACK TO s; DELETE FROM w{writer} WHERE id < {id}; COMMIT"
                            ),
                        );
                    }
                });
            }
        });
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.audit_transactions"
            ),
            160
        );
        let whole = "SELECT count(*) FROM (SELECT FROM threadline.audit_changes GROUP BY transaction_id
                       HAVING count(DISTINCT table_id) = 1 AND count(*) FILTER (WHERE op = 'insert') = 1) AS g";
        assert_eq!(count(&mut conn, whole), 160);
    }
}

/// A prepared transaction is one group, and its session's next one another.
#[test]
fn two_phase_commit() {
    let (database, mut conn) = two_tables("statement");
    let name = database.name();
    run(
        &mut conn,
        &format!(
            "BEGIN; INSERT INTO a VALUES (1); INSERT INTO b VALUES (2); PREPARE TRANSACTION '{name}'"
        ),
    );
    run(&mut conn, "INSERT INTO a VALUES (3)");
    run(&mut conn, &format!("COMMIT PREPARED '{name}'"));
    run(
        &mut conn,
        &format!("BEGIN; INSERT INTO a VALUES (4); PREPARE TRANSACTION '{name}'"),
    );
    run(&mut conn, &format!("ROLLBACK PREPARED '{name}'"));
    assert_eq!(groups(&mut conn), ["1 2", "3"]);
    assert_no_gap(&mut conn, "a");
}

/// An older transaction with the same txid, as a restored cluster can have, is not taken for the running one.
#[test]
fn txid_used_before() {
    let (_database, mut conn) = two_tables("row");
    run(
        &mut conn,
        "BEGIN; INSERT INTO threadline.audit_transactions (id, txid, occurred_at, database_role)
         VALUES (gen_random_uuid(), pg_current_xact_id(), now() - interval '1 year', 'older');
         INSERT INTO a VALUES (1); INSERT INTO a VALUES (2); COMMIT",
    );
    assert_eq!(groups(&mut conn), ["1 2"]);
    assert_eq!(
        text(
            &mut conn,
            "SELECT string_agg(DISTINCT database_role, ' ') FROM threadline.changes"
        )
        .as_deref(),
        Some("postgres")
    );
}

/// In a dump restored elsewhere the audit log goes on: capture, redaction, keys and versions.
#[test]
fn dump_and_restore() {
    let (database, mut conn) = database(
        "CREATE TABLE t (gone int, id int PRIMARY KEY, secret text, n int); ALTER TABLE t DROP COLUMN gone;
         CREATE TABLE p (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE p_1 PARTITION OF p DEFAULT;
         SELECT threadline.audit_table('t', mask => '{secret}'), threadline.audit_table('p');
         INSERT INTO t VALUES (1, 'SECRET', 0); UPDATE t SET n = 1; INSERT INTO p VALUES (1)",
    );
    let restored = Database::empty();
    run_dump(&dump(&database, &[]), &restored).unwrap();
    let mut copy = restored.connect();
    assert_eq!(whole_record(&mut copy), whole_record(&mut conn));
    let writes = "UPDATE t SET n = n + 1, secret = 'SECRET again'; INSERT INTO p VALUES ((SELECT max(id) + 1 FROM p))";
    run(&mut copy, writes);
    run(&mut copy, "SELECT threadline.refresh_audited_tables()");
    run(&mut copy, writes);
    assert_eq!(groups(&mut copy), ["1 1 1", "1 2", "1 3"]);
    let versions = texts(
        &mut copy,
        "SELECT concat(op, typed_row) AS value FROM threadline.versions(NULL::t, 1) ORDER BY id",
    );
    assert_eq!(
        versions,
        [
            "insert(1,[REDACTED],0)",
            "update(1,[REDACTED],1)",
            "update(1,[REDACTED],2)",
            "update(1,[REDACTED],3)"
        ]
    );
    assert_eq!(
        count(
            &mut copy,
            "SELECT count(*) FROM threadline.versions(NULL::p, 3)"
        ),
        1
    );
    assert_eq!(whole_record(&mut copy).find("SECRET"), None);
    assert_no_gap(&mut copy, "p");
}
