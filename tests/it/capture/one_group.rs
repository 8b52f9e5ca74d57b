//! Law 4: one group per transaction, whatever the session says of itself, and none without a change.

use diesel::pg::PgConnection;
use threadline_test_support::Database;

use super::{GRANULARITIES, assert_no_gap, audit, count, texts};
use crate::common::{database, run, text};

/// The keys of each group, in order.
pub(super) fn groups(conn: &mut PgConnection) -> Vec<String> {
    texts(
        conn,
        "SELECT string_agg(v.row_key, ' ' ORDER BY v.id) AS value
           FROM threadline.changes AS v JOIN threadline.audit_transactions AS t ON t.id = v.transaction_id
          GROUP BY t.id ORDER BY min(v.id)",
    )
}

/// Two audited tables.
pub(super) fn two_tables(granularity: &str) -> (Database, PgConnection) {
    let (database, mut conn) =
        database("CREATE TABLE a (id int PRIMARY KEY, n int); CREATE TABLE b (id int PRIMARY KEY)");
    audit(&mut conn, "a", granularity);
    audit(&mut conn, "b", granularity);
    (database, conn)
}

/// Statements on several tables, in savepoints, functions and kept cursors alike, are one group; a rollback leaves none.
#[test]
fn one_group() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = two_tables(granularity);
        run(
            &mut conn,
            "BEGIN; INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (3); SAVEPOINT s; UPDATE a SET n = 1 WHERE id = 1;
             SAVEPOINT t; DELETE FROM b; ROLLBACK TO t; INSERT INTO b VALUES (4); RELEASE s;
             DO 'BEGIN INSERT INTO a VALUES (1); EXCEPTION WHEN unique_violation THEN INSERT INTO a VALUES (5); END'; COMMIT;
             BEGIN; INSERT INTO a VALUES (6); ROLLBACK",
        );
        run(
            &mut conn,
            "DO 'BEGIN INSERT INTO a VALUES (7); COMMIT; INSERT INTO a VALUES (8); ROLLBACK; INSERT INTO a VALUES (9); END'",
        );
        assert_eq!(groups(&mut conn), ["1 2 3 1 4 5", "7", "9"]);
        assert_no_gap(&mut conn, "a");
        let wrong = "SELECT count(*) FROM threadline.audit_transactions WHERE occurred_at > now() OR txid IS NULL";
        assert_eq!(count(&mut conn, wrong), 0);
    }
}

/// A group first made in a savepoint that is rolled back is made again outside, and is still one.
#[test]
fn made_again_after_a_rollback() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = two_tables(granularity);
        run(
            &mut conn,
            "BEGIN; SAVEPOINT s; INSERT INTO a VALUES (1); ROLLBACK TO s; INSERT INTO a VALUES (2);
             SAVEPOINT u; INSERT INTO a VALUES (3); ROLLBACK TO u; INSERT INTO b VALUES (4); COMMIT;
             BEGIN; SAVEPOINT s; INSERT INTO a VALUES (5); ROLLBACK TO s; COMMIT",
        );
        assert_eq!(groups(&mut conn), ["2 4"]);
        assert_no_gap(&mut conn, "a");
    }
}

/// Settings forged to those of another transaction, running or ended, never join, lose or split a group.
#[test]
fn forged_settings() {
    for granularity in GRANULARITIES {
        for scope in ["LOCAL", "SESSION"] {
            let (database, mut conn) = two_tables(granularity);
            let mut other = database.connect();
            run(&mut conn, "INSERT INTO a VALUES (100)");
            run(&mut other, "BEGIN; INSERT INTO a VALUES (200)");
            let ended = text(&mut conn, "SELECT id FROM threadline.audit_transactions").unwrap();
            let running = text(
                &mut other,
                "left(current_setting('threadline.entered'), 36)",
            )
            .unwrap();
            let mut expected = vec!["100".to_owned(), "200".to_owned()];
            for (round, (forged, with_xid)) in [
                (&ended, false),
                (&running, false),
                (&ended, true),
                (&running, true),
            ]
            .into_iter()
            .enumerate()
            {
                let id = 10 * (round + 1);
                let value = if with_xid {
                    format!("concat(pg_current_xact_id(), ':{forged}')")
                } else {
                    format!("'{forged}'")
                };
                let forge = [
                    "entered",
                    "entered_with",
                    "outer_context",
                    "moving_1",
                    "inserting_1",
                ]
                .map(|setting| {
                    format!(
                        "SELECT set_config('threadline.{setting}', {value}, {});",
                        scope == "LOCAL"
                    )
                })
                .concat();
                let entered = format!(
                    "SET {scope} threadline.entered = '{forged},'; SET {scope} threadline.entered_with = E'{forged}\\x1f\\x1f';"
                );
                run(
                    &mut conn,
                    &format!(
                        "BEGIN; {forge} INSERT INTO a VALUES ({id}); {forge} INSERT INTO b VALUES ({id}); {entered} UPDATE a SET n = 1 WHERE id = {id}; COMMIT"
                    ),
                );
                expected.push(format!("{id} {id} {id}"));
            }
            run(&mut other, "INSERT INTO b VALUES (201); COMMIT");
            "200 201".clone_into(&mut expected[1]);
            assert_eq!(groups(&mut conn), expected);
            assert_no_gap(&mut conn, "a");
            assert_no_gap(&mut conn, "b");
        }
    }
}

/// A forged move rewrites no delete of another transaction, and makes no write fail.
#[test]
fn forged_moves() {
    for key in ["PRIMARY KEY", ""] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (id int {key}, x text) PARTITION BY LIST (id); CREATE TABLE t_1 PARTITION OF t DEFAULT;
             SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 'first'); DELETE FROM t"
        ));
        let before = "SELECT string_agg(c::text, ' ' ORDER BY id) FROM threadline.audit_changes AS c WHERE id <= 2";
        let untouched = text(&mut conn, before);
        run(
            &mut conn,
            "INSERT INTO t SELECT 2, concat(set_config('threadline.inserting_1', '', true), set_config('threadline.moving_1',
               concat_ws('|', c.table_id, statement_timestamp(), c.id, c.captured_at), true)) FROM threadline.audit_changes AS c WHERE op = 'delete';
             SET threadline.moving_1 = '1|x|y|z'; SET threadline.inserting_1 = 'x'; INSERT INTO t VALUES (3); DELETE FROM t WHERE id = 3",
        );
        assert_eq!(text(&mut conn, before), untouched);
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.audit_changes WHERE moved_key IS NULL"
            ),
            5
        );
        let order = texts(
            &mut conn,
            "SELECT op AS value FROM threadline.audit_changes ORDER BY id",
        );
        assert_eq!(order, ["insert", "delete", "insert", "insert", "delete"]);
    }
}

/// The settings of an ended transaction, set again for the session, do not prolong it.
#[test]
fn stale_settings() {
    let (_database, mut conn) = two_tables("statement");
    run(&mut conn, "BEGIN; INSERT INTO a VALUES (1)");
    let id = text(&mut conn, "left(current_setting('threadline.entered'), 36)").unwrap();
    run(
        &mut conn,
        &format!(
            "SET threadline.entered = '{id},'; SET threadline.entered_with = E'{id}\\x1f\\x1f'; COMMIT; INSERT INTO a VALUES (2)"
        ),
    );
    run(&mut conn, "UPDATE a SET n = 1 WHERE id = 1");
    assert_eq!(groups(&mut conn), ["1", "2", "1"]);
}
