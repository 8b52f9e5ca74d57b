//! Law 1: of two changes of one row the later has the greater id, whoever causes whom.

use super::{assert_no_gap, count, ops};
use crate::common::{database, run};

/// A row trigger of the application that updates the same row again is recorded after what fired it.
#[test]
fn triggers_that_write_the_row_again() {
    let (_database, mut conn) = database(
        "CREATE TABLE items (id int PRIMARY KEY, name text, n int DEFAULT 0);
         CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN IF NEW.n < 3 THEN UPDATE items SET n = n + 1 WHERE id = NEW.id; END IF; RETURN NULL; END';
         CREATE TRIGGER \"00_first\" AFTER INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION again();
         CREATE FUNCTION at_end() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN UPDATE items SET name = upper(name) WHERE name <> upper(name); RETURN NULL; END';
         CREATE TRIGGER zz AFTER INSERT ON items FOR EACH STATEMENT EXECUTE FUNCTION at_end();
         SELECT threadline.audit_table('items');
         INSERT INTO items VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    );
    assert_eq!(
        count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
        15
    );
    assert_no_gap(&mut conn, "items");
}

/// BEFORE triggers that change the row being written are part of the change.
#[test]
fn before_triggers() {
    for granularity in super::GRANULARITIES {
        let (_database, mut conn) = database(
            "CREATE TABLE items (id int PRIMARY KEY, name text, stamp int DEFAULT 0);
             CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN IF NEW.name = ''skip'' THEN RETURN NULL; END IF; NEW.stamp := NEW.stamp + 1; RETURN NEW; END';
             CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION stamp()",
        );
        super::audit(&mut conn, "items", granularity);
        run(
            &mut conn,
            "INSERT INTO items VALUES (1, 'a'), (2, 'skip'), (3, 'c'); UPDATE items SET name = CASE id WHEN 1 THEN 'skip' ELSE name END",
        );
        assert_eq!(
            ops(&mut conn, "items"),
            ["insert 1", "insert 3", "update 3"]
        );
        assert_no_gap(&mut conn, "items");
    }
}

/// The corner that cannot hold: a function called by a running statement (here a BEFORE trigger) writes rows that the
/// same statement wrote already. PostgreSQL fires the triggers of the inner statement first, so it is recorded first.
/// Nothing is missed, and each change has its true images; only their order is that of the triggers.
#[test]
fn before_triggers_that_write_other_rows() {
    let (_database, mut conn) = database(
        "CREATE TABLE items (id int PRIMARY KEY, place int);
         CREATE FUNCTION shift() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN UPDATE items SET place = place + 1 WHERE place >= NEW.place; RETURN NEW; END';
         CREATE TRIGGER shift BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION shift();
         SELECT threadline.audit_table('items');
         INSERT INTO items VALUES (1, 1); INSERT INTO items VALUES (2, 1)",
    );
    assert_no_gap(&mut conn, "items");
    run(&mut conn, "INSERT INTO items VALUES (3, 1), (4, 1)");
    assert_eq!(
        ops(&mut conn, "items")[3..],
        [
            "update 1", "update 2", "update 1", "update 2", "update 3", "insert 3", "insert 4"
        ]
        .map(str::to_owned)
    );
}

/// Updates of one row by many sessions chain in the order of their commits.
#[test]
fn concurrent_writers() {
    for granularity in super::GRANULARITIES {
        let (database, mut conn) = database("CREATE TABLE counters (id int PRIMARY KEY, n int)");
        super::audit(&mut conn, "counters", granularity);
        run(
            &mut conn,
            "INSERT INTO counters SELECT g, 0 FROM generate_series(1, 3) AS g",
        );
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let mut conn = database.connect();
                scope.spawn(move || {
                    for round in 0..50 {
                        let id = (writer + round) % 3 + 1;
                        run(
                            &mut conn,
                            &format!("UPDATE counters SET n = n + 1 WHERE id = {id}"),
                        );
                    }
                });
            }
        });
        assert_eq!(count(&mut conn, "SELECT sum(n) FROM counters"), 200);
        assert_eq!(
            count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
            203
        );
        assert_no_gap(&mut conn, "counters");
    }
}
