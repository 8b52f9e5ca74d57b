//! What became of the labels of enums before the dump is known in the copy.

use diesel::PgConnection;
use threadline_test_support::Database;

use super::{burn, dump, installed, restore};
use crate::common::{run, text};

const REFRESH: &str = "SELECT threadline.refresh_audited_tables()";

const TABLE: &str = "CREATE TYPE e AS ENUM ('a', 'b', 'c'); CREATE TABLE at (at timestamptz);
    CREATE TABLE t (id int PRIMARY KEY, s e, many e[]);
    SELECT threadline.audit_table('t'), threadline.exempt_table('at', 'of the test');
    INSERT INTO t VALUES (1, 'a', '{a,b,c}'), (2, 'b', '{a}'); INSERT INTO at VALUES (clock_timestamp());
    UPDATE t SET s = 'c', many = NULL WHERE id = 1";

const EXCHANGE: &str =
    "BEGIN; ALTER TYPE e RENAME VALUE 'a' TO 'x'; ALTER TYPE e RENAME VALUE 'b' TO 'a';
    ALTER TYPE e RENAME VALUE 'x' TO 'b'; SELECT threadline.refresh_audited_tables(); COMMIT";

#[track_caller]
fn assert_past(conn: &mut PgConnection, truth: &str, case: &str) {
    let at = text(conn, "SELECT at FROM at").unwrap();
    let past = format!(
        "SELECT string_agg(concat(id, s, many), ' ' ORDER BY id) FROM threadline.as_of(NULL::t, '{at}')"
    );
    assert_eq!(text(conn, &past).as_deref(), Some(truth), "{case}");
}

/// Labels that were renamed, or exchanged, before the dump; and again in the copy, and in the copy of the copy.
#[test]
fn renamed() {
    for (migration, truth, again) in [
        (EXCHANGE, "1b{b,a,c} 2a{b}", "1a{a,b,c} 2b{a}"),
        (
            "ALTER TYPE e RENAME VALUE 'a' TO 'b 2'; SELECT threadline.refresh_audited_tables()",
            "1b 2{\"b 2\",b,c} 2b{\"b 2\"}",
            "",
        ),
        (
            "ALTER TYPE e RENAME VALUE 'a' TO 'x'; ALTER TYPE e ADD VALUE 'a'; SELECT threadline.refresh_audited_tables()",
            "1x{x,b,c} 2b{x}",
            "",
        ),
    ] {
        let (database, mut conn) = installed();
        migrate(&mut conn, TABLE);
        migrate(&mut conn, migration);
        assert_past(&mut conn, truth, migration);
        let copy = Database::elsewhere();
        burn(&mut copy.connect(), 7);
        restore(&dump(&database, &["-Fc"]), &copy, &["--exit-on-error"]).unwrap();
        let mut conn = copy.connect();
        assert_past(&mut conn, truth, migration);
        run(&mut conn, REFRESH);
        assert_past(&mut conn, truth, migration);
        if again.is_empty() {
            continue;
        }
        migrate(&mut conn, migration);
        assert_past(&mut conn, again, migration);
        let next = Database::elsewhere();
        burn(&mut next.connect(), 3);
        restore(&dump(&copy, &["-Fc"]), &next, &["--exit-on-error"]).unwrap();
        let mut conn = next.connect();
        run(&mut conn, REFRESH);
        assert_past(&mut conn, again, migration);
        migrate(&mut conn, migration);
        assert_past(&mut conn, truth, migration);
    }
}

/// Each statement by itself, as migrations run it.
fn migrate(conn: &mut PgConnection, migration: &str) {
    for statement in migration.split(';') {
        run(conn, statement);
    }
}

/// An enum that was replaced before the dump keeps what its labels were called last.
#[test]
fn of_a_type_that_is_gone() {
    let (database, mut conn) = installed();
    migrate(&mut conn, TABLE);
    migrate(&mut conn, EXCHANGE);
    run(
        &mut conn,
        "CREATE TYPE f AS ENUM ('c', 'b', 'a'); ALTER TABLE t ALTER s TYPE f USING s::text::f, ALTER many TYPE f[] USING many::text[]::f[];
         DROP TYPE e",
    );
    run(&mut conn, REFRESH);
    let truth = "1b{b,a,c} 2a{b}";
    assert_past(&mut conn, truth, "replaced");
    let copy = Database::elsewhere();
    burn(&mut copy.connect(), 5);
    restore(&dump(&database, &["-Fc"]), &copy, &["--exit-on-error"]).unwrap();
    let mut conn = copy.connect();
    run(&mut conn, REFRESH);
    assert_past(&mut conn, truth, "replaced and restored");
}

/// The labels of a redacted column are not kept, and those of before its redaction are known by number.
#[test]
fn redacted() {
    let (database, mut conn) = installed();
    migrate(&mut conn, TABLE);
    migrate(&mut conn, EXCHANGE);
    run(
        &mut conn,
        "SELECT threadline.audit_table('t', exclude => '{s}')",
    );
    let copy = Database::elsewhere();
    burn(&mut copy.connect(), 5);
    restore(&dump(&database, &["-Fc"]), &copy, &["--exit-on-error"]).unwrap();
    let mut conn = copy.connect();
    run(&mut conn, REFRESH);
    let kept = "SELECT columns -> 's' ? 'labels' FROM threadline.table_definitions ORDER BY id DESC LIMIT 1";
    assert_eq!(text(&mut conn, kept).as_deref(), Some("false"));
    run(
        &mut conn,
        "SELECT threadline.audit_table('t', unredact => '{s}')",
    );
    assert_past(&mut conn, "1b{b,a,c} 2a{b}", "unredacted");
}
