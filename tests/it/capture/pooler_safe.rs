//! Law 8: nothing of a transaction is left in its session when it ends, however it ends.

use diesel::pg::PgConnection;
use threadline_test_support::Database;

use super::{GRANULARITIES, texts};
use crate::common::{database, error, run};

/// A partitioned table, where moves are noted too, and a plain one whose trigger writes to it one level deeper.
fn tables(granularity: &str) -> (Database, PgConnection) {
    database(&format!(
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (100);
         CREATE TABLE p_2 PARTITION OF p DEFAULT; CREATE TABLE t (id int PRIMARY KEY);
         CREATE FUNCTION deeper() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO p VALUES (NEW.id); UPDATE p SET id = id + 100 WHERE id = NEW.id; DELETE FROM p WHERE id = NEW.id + 100; RETURN NULL; END';
         CREATE TRIGGER deeper AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION deeper();
         SELECT threadline.audit_table('p'), threadline.audit_table('t', granularity => '{granularity}')"
    ))
}

const WRITES: &str = "SET LOCAL threadline.actor_ref = '{\"type\": \"user\", \"id\": \"ada\"}'; SET LOCAL threadline.context = '{\"source\": \"test\"}';
    SET LOCAL threadline.outer_context = '{}';
    INSERT INTO p VALUES (1), (1000); UPDATE p SET id = id + 500 WHERE id = 1; DELETE FROM p WHERE id = 1000; INSERT INTO t VALUES (2)";

/// The settings of Threadline that are not empty in this session.
fn left(conn: &mut PgConnection) -> Vec<String> {
    texts(
        conn,
        "SELECT concat(name, '=', current_setting('threadline.' || name, true)) AS value
           FROM unnest('{actor_ref,context,outer_context,entered,entered_with}'::text[]) AS s (name)
          WHERE current_setting('threadline.' || name, true) <> '' ORDER BY 1",
    )
}

/// After a commit, a rollback and an error no setting is left, and while the transaction runs there are some.
#[test]
fn nothing_is_left() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = tables(granularity);
        run(&mut conn, &format!("BEGIN; {WRITES}"));
        let used = left(&mut conn).join(" ");
        for setting in ["entered=", "entered_with="] {
            assert!(
                used.contains(setting),
                "{setting} is not used any more: {used}"
            );
        }
        run(&mut conn, "ROLLBACK");
        assert_eq!(left(&mut conn), [""; 0]);
        error(
            &mut conn,
            &format!("BEGIN; {WRITES}; INSERT INTO t VALUES (2)"),
        );
        run(&mut conn, "ROLLBACK");
        assert_eq!(left(&mut conn), [""; 0]);
        run(
            &mut conn,
            &format!(
                "BEGIN; SAVEPOINT s; {WRITES}; ROLLBACK TO s; {WRITES}; SAVEPOINT u; RELEASE u; COMMIT"
            ),
        );
        assert_eq!(left(&mut conn), [""; 0]);
        // Without BEGIN: a transaction of its own a message, which an error ends, too.
        run(
            &mut conn,
            "INSERT INTO p VALUES (7); UPDATE p SET id = 700 WHERE id = 7; INSERT INTO t VALUES (3)",
        );
        assert_eq!(left(&mut conn), [""; 0]);
        error(
            &mut conn,
            "INSERT INTO p VALUES (8); INSERT INTO t VALUES (3)",
        );
        assert_eq!(left(&mut conn), [""; 0]);
    }
}

/// An actor set with SET LOCAL reaches its own transaction and not the next one of the session.
#[test]
fn the_next_transaction_is_nobodys() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = tables(granularity);
        for end in ["COMMIT", "ROLLBACK"] {
            run(
                &mut conn,
                &format!(
                    "BEGIN; {WRITES}; {end}; BEGIN; DELETE FROM t; INSERT INTO t VALUES (20); COMMIT; DELETE FROM p; DELETE FROM t"
                ),
            );
        }
        let said = texts(
            &mut conn,
            "SELECT DISTINCT concat(actor_ref ->> 'id', ' ', source, ' ', row_key = '20') AS value FROM threadline.changes
              WHERE table_name = 't' AND op = 'insert' ORDER BY 1",
        );
        assert_eq!(said, ["  t", "ada test f"]);
    }
}

/// The words of one transaction do not stand in the next one's group either.
#[test]
fn one_context_a_group() {
    let (_database, mut conn) = tables("statement");
    run(
        &mut conn,
        &format!("BEGIN; {WRITES}; COMMIT; DELETE FROM p"),
    );
    let actors = texts(
        &mut conn,
        "SELECT concat(actor_ref ->> 'id', ' ', source, ' ', meta) AS value FROM threadline.audit_transactions ORDER BY txid::text::bigint",
    );
    assert_eq!(actors, ["ada test ", "  "]);
    let differing = texts(
        &mut conn,
        "SELECT context::text AS value FROM threadline.audit_changes WHERE context IS NOT NULL",
    );
    assert_eq!(differing, [""; 0]);
}
