//! Law 1: any writer is captured in the same transaction; what is rolled back leaves nothing.

use diesel::prelude::*;
use threadline_test_support::Database;

use super::{GRANULARITIES, assert_no_gap, audit, count, ops, psql};
use crate::common::{database, run};
use crate::skipped::since;

fn items(granularity: &str) -> (Database, PgConnection) {
    let (database, mut conn) = database(
        "CREATE TABLE items (id int PRIMARY KEY, name text, n int NOT NULL DEFAULT 0);
         CREATE TABLE other (LIKE items INCLUDING ALL)",
    );
    audit(&mut conn, "items", granularity);
    (database, conn)
}

/// INSERT, UPDATE, DELETE and TRUNCATE are recorded, each row with both images.
#[test]
fn plain_statements() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = items(granularity);
        run(
            &mut conn,
            "INSERT INTO items VALUES (1, 'a'), (2, 'b'); UPDATE items SET n = 1 WHERE id = 2; DELETE FROM items WHERE id = 1; TRUNCATE items",
        );
        assert_eq!(
            ops(&mut conn, "items"),
            ["insert 1", "insert 2", "update 2", "delete 1", "truncate 2"]
        );
        assert_no_gap(&mut conn, "items");
    }
}

/// Ten thousand rows in one statement, in little memory, lose none and pair the right images.
#[test]
fn bulk() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = items(granularity);
        run(
            &mut conn,
            "SET work_mem = '64kB'; INSERT INTO items SELECT g, repeat(g::text, 20) FROM generate_series(1, 10000) AS g;
             UPDATE items SET name = name || 'x', n = id WHERE id % 2 = 0; DELETE FROM items WHERE id % 3 = 0",
        );
        assert_eq!(
            count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
            18_333
        );
        assert_no_gap(&mut conn, "items");
    }
}

/// COPY is captured.
#[test]
fn copy() {
    for granularity in GRANULARITIES {
        let (database, mut conn) = items(granularity);
        psql(
            &database,
            "\\copy items (id, name) FROM STDIN\n1\tAda\n2\tBob\n\\.\n",
        );
        assert_eq!(ops(&mut conn, "items"), ["insert 1", "insert 2"]);
        assert_no_gap(&mut conn, "items");
    }
}

/// ON CONFLICT records the insert or the update that was made of it, and nothing for DO NOTHING.
#[test]
fn on_conflict() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = items(granularity);
        run(
            &mut conn,
            "INSERT INTO items VALUES (1, 'a');
             INSERT INTO items VALUES (1, 'A'), (2, 'b') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
             INSERT INTO items VALUES (1, 'no'), (2, 'no') ON CONFLICT DO NOTHING;
             INSERT INTO items VALUES (1, 'A') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
             INSERT INTO items VALUES (2, 'c') ON CONFLICT (id) DO UPDATE SET id = 20, name = excluded.name",
        );
        let mut ops = ops(&mut conn, "items");
        ops[1..3].sort();
        assert_eq!(
            ops,
            [
                "insert 1",
                "insert 2",
                "update 1",
                "delete 2>20",
                "insert 20>2"
            ]
        );
        assert_no_gap(&mut conn, "items");
    }
}

/// MERGE is captured, also where it ends a key and begins it again.
#[test]
fn merge() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = items(granularity);
        run(
            &mut conn,
            "INSERT INTO items VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        );
        let merge = "MERGE INTO items AS i USING (VALUES (1, 1, 'gone'), (2, 12, 'moved'), (3, 3, 'changed'), (91, 1, 'new'), (92, 2, 'new'))
            AS s (old, id, name) ON i.id = s.old
            WHEN MATCHED AND s.name = 'gone' THEN DELETE
            WHEN MATCHED THEN UPDATE SET id = s.id, name = s.name
            WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)";
        if !since(&mut conn, 15, "MERGE") {
            continue;
        }
        run(&mut conn, merge);
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.audit_changes WHERE id > 3"
            ),
            6
        );
        assert_no_gap(&mut conn, "items");
    }
}

/// Queries that change data inside WITH are captured, and a key that one of them ends before another begins it again
/// is recorded in that order.
#[test]
fn data_modifying_with() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = items(granularity);
        run(
            &mut conn,
            "INSERT INTO items VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd');
             WITH gone AS (DELETE FROM items WHERE id = 1 RETURNING *), changed AS (UPDATE items SET name = 'B' WHERE id = 2)
               INSERT INTO other SELECT * FROM gone;
             WITH gone AS (DELETE FROM items WHERE id = 2 RETURNING *)
               INSERT INTO items SELECT id, 'again' FROM gone",
        );
        assert_eq!(
            count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
            8
        );
        assert_no_gap(&mut conn, "items");
    }
}

/// What foreign keys do (cascades, SET NULL, to the table itself too) is captured as what it is.
#[test]
fn cascades() {
    let (_database, mut conn) = database(
        "CREATE TABLE parents (id int PRIMARY KEY);
         CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON UPDATE CASCADE ON DELETE CASCADE);
         CREATE TABLE notes (id int PRIMARY KEY, parent int REFERENCES parents ON UPDATE CASCADE ON DELETE SET NULL);
         CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON UPDATE CASCADE ON DELETE CASCADE);
         CREATE TABLE friends (a int REFERENCES parents ON UPDATE CASCADE, b int REFERENCES parents ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE,
                               since int, PRIMARY KEY (a, since));
         CREATE TABLE pairs (a int REFERENCES parents ON UPDATE CASCADE, b int REFERENCES parents ON UPDATE CASCADE, PRIMARY KEY (a, b));
         CREATE TABLE mixed (id int PRIMARY KEY, a int REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE,
                             b int REFERENCES parents ON DELETE SET NULL ON UPDATE CASCADE);
         SELECT threadline.audit_table(t) FROM unnest('{parents,children,notes,tree,friends,pairs,mixed}'::regclass[]) AS t;
         INSERT INTO parents SELECT generate_series(1, 8);
         INSERT INTO children SELECT g, 1 + g % 8 FROM generate_series(1, 40) AS g;
         INSERT INTO notes SELECT g, 1 + g % 8 FROM generate_series(1, 40) AS g;
         INSERT INTO mixed SELECT g, 1 + g % 8, 1 + g % 7 FROM generate_series(1, 40) AS g;
         INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 2), (5, 4), (6, NULL), (7, 6), (8, 8);
         INSERT INTO friends SELECT 1 + g % 3, 1 + g % 8, g FROM generate_series(1, 40) AS g;
         INSERT INTO pairs VALUES (1, 1), (1, 2), (2, 1), (3, 3);
         UPDATE parents SET id = id + 100; UPDATE parents SET id = id - 100 WHERE id > 102;
         UPDATE tree SET id = id + 10;
         DELETE FROM pairs; DELETE FROM parents WHERE id IN (4, 5, 6, 7);
         DELETE FROM tree WHERE id = 12; DELETE FROM tree WHERE id IN (16, 18)",
    );
    for table in [
        "parents", "children", "notes", "tree", "friends", "pairs", "mixed",
    ] {
        assert_no_gap(&mut conn, table);
    }
    assert_eq!(
        ops(&mut conn, "tree").last().map(String::as_str),
        Some("delete 17")
    );
}

/// Rolled back transactions and savepoints leave nothing, not even a transaction, and what follows is recorded.
#[test]
fn rollback() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = items(granularity);
        run(
            &mut conn,
            "BEGIN; INSERT INTO items VALUES (1); TRUNCATE items; ROLLBACK",
        );
        run(
            &mut conn,
            "BEGIN; SAVEPOINT s; INSERT INTO items VALUES (1); ROLLBACK TO s; COMMIT",
        );
        assert_eq!(super::whole_record(&mut conn), "");
        run(
            &mut conn,
            "BEGIN; SAVEPOINT s; INSERT INTO items VALUES (1); ROLLBACK TO s; INSERT INTO items VALUES (2);
             SAVEPOINT t; UPDATE items SET n = 1; SAVEPOINT u; DELETE FROM items; ROLLBACK TO u; RELEASE t; COMMIT;
             DO $$ BEGIN INSERT INTO items VALUES (3); RAISE 'no'; EXCEPTION WHEN OTHERS THEN INSERT INTO items VALUES (4); END $$",
        );
        assert_eq!(
            ops(&mut conn, "items"),
            ["insert 2", "update 2", "insert 4"]
        );
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.audit_transactions"
            ),
            2
        );
        assert_no_gap(&mut conn, "items");
    }
}

/// Writes at commit time, by deferred constraint triggers, belong to the transaction.
#[test]
fn deferred_triggers() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = items(granularity);
        run(
            &mut conn,
            "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE items SET n = n + 1 WHERE id = NEW.id; RETURN NULL; END';
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
             BEGIN; INSERT INTO items VALUES (1), (2); UPDATE items SET name = 'x' WHERE id = 1; COMMIT",
        );
        assert_eq!(
            ops(&mut conn, "items"),
            ["insert 1", "insert 2", "update 1", "update 1", "update 2"]
        );
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.audit_transactions"
            ),
            1
        );
        assert_no_gap(&mut conn, "items");
    }
}

/// Functions, procedures that commit in between, and psql are writers like any other.
#[test]
fn functions_and_programs() {
    let (database, mut conn) = items("statement");
    run(
        &mut conn,
        "CREATE FUNCTION fill(n int) RETURNS void LANGUAGE sql AS 'INSERT INTO items SELECT generate_series(1, n); UPDATE items SET n = id';
         CREATE PROCEDURE refill() LANGUAGE plpgsql AS 'BEGIN DELETE FROM items WHERE id = 1; COMMIT; INSERT INTO items VALUES (1); END';
         SELECT fill(3)",
    );
    run(&mut conn, "CALL refill()");
    psql(&database, "UPDATE items SET name = 'psql' WHERE id = 3;");
    assert_eq!(
        ops(&mut conn, "items"),
        [
            "insert 1", "insert 2", "insert 3", "update 1", "update 2", "update 3", "delete 1",
            "insert 1", "update 3"
        ]
    );
    assert_eq!(
        count(
            &mut conn,
            "SELECT count(*) FROM threadline.audit_transactions"
        ),
        4
    );
    assert_no_gap(&mut conn, "items");
}
