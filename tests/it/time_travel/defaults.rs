//! What columns that were added since are in rows of before: the default that they were added with, and converted like any
//! other value since; or an error that names the column.

use diesel::prelude::*;

use super::conversions::{REFRESH, past, read};
use super::keys::clock;
use super::*;
use crate::common::{error, text};

/// What `alter` adds as column `s` is in two rows, of which the second was changed before that.
fn added(alter: &str) -> (Database, PgConnection, String) {
    let (database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, o int); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 1), (2, 2)",
    );
    let at = clock(&mut conn);
    run(&mut conn, "UPDATE t SET o = 5 WHERE id = 2");
    for sql in alter.split(" / ") {
        run(&mut conn, sql);
    }
    run(&mut conn, REFRESH);
    (database, conn, at)
}

/// A default that is set later is never what rows of before had.
#[test]
fn set_later() {
    for (alter, expected) in [
        (
            "ALTER TABLE t ADD s text; ALTER TABLE t ALTER s SET DEFAULT 'live'",
            "1 , 2 ",
        ),
        (
            "ALTER TABLE t ADD s text DEFAULT 'draft'; ALTER TABLE t ALTER s SET DEFAULT 'live'",
            "1 draft, 2 draft",
        ),
        ("VACUUM FULL t / ALTER TABLE t ADD s text", "1 , 2 "),
        (
            "ALTER TABLE t ADD s text DEFAULT 'draft' / VACUUM FULL t",
            "1 draft, 2 draft",
        ),
        (
            "ALTER TABLE t ADD s int NOT NULL DEFAULT 1; ALTER TABLE t ALTER o TYPE bigint; UPDATE t SET s = 3 WHERE id = 2",
            "1 1, 2 1",
        ),
        (
            "ALTER TABLE t ADD s text; ALTER TABLE t ALTER s SET DEFAULT 'live'; ALTER TABLE t ALTER s SET DEFAULT gen_random_uuid()::text",
            "1 , 2 ",
        ),
        (
            "DELETE FROM t; TRUNCATE t; ALTER TABLE t ADD s int NOT NULL DEFAULT 7",
            "1 7, 2 7",
        ),
        ("TRUNCATE t; ALTER TABLE t ADD s int", "1 , 2 "),
    ] {
        let (_database, mut conn, at) = added(alter);
        assert_eq!(read(&mut conn, &at, "s"), expected, "{alter}");
    }
}

/// Where the table was rewritten since and its rows do not bear out a default, the value is an error where it is read.
#[test]
fn set_later_and_rewritten() {
    for alter in [
        "ALTER TABLE t ADD s int NOT NULL DEFAULT 1; ALTER TABLE t ALTER s SET DEFAULT 2; ALTER TABLE t ALTER o TYPE bigint",
        "ALTER TABLE t ADD s text DEFAULT 'draft'; ALTER TABLE t ALTER s SET DEFAULT 'live' / VACUUM FULL t",
        "ALTER TABLE t ADD s text DEFAULT 'draft'; ALTER TABLE t ALTER s DROP DEFAULT / VACUUM FULL t",
        "ALTER TABLE t ADD s text DEFAULT 'draft'; UPDATE t SET s = 'x'; ALTER TABLE t ALTER s SET DEFAULT 'live' / VACUUM FULL t",
        "ALTER TABLE t ADD s uuid DEFAULT gen_random_uuid()",
    ] {
        let (_database, mut conn, at) = added(alter);
        let message = error(&mut conn, &past(&at, "s"));
        assert!(
            message.contains(
                "column s of public.t has no value before a migration: column s was added"
            ) || message.contains("recorded no value for column s, which is NOT NULL now"),
            "{alter}: {message}"
        );
        assert_eq!(read(&mut conn, &at, "o"), "1 1, 2 2", "{alter}");
        run(&mut conn, "UPDATE t SET o = 6");
        let now = clock(&mut conn);
        run(&mut conn, "UPDATE t SET o = 7");
        read(&mut conn, &now, "s");
    }
}

/// PostgreSQL keeps the default that a column of a partitioned table was added with at the partitions.
#[test]
fn of_a_partitioned_table() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, o int) PARTITION BY RANGE (id);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (2); CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (2) TO (9);
         SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 1), (2, 2)",
    );
    let at = clock(&mut conn);
    run(
        &mut conn,
        "UPDATE t SET o = 5 WHERE id = 2; ALTER TABLE t ADD q text DEFAULT 'qq'; ALTER TABLE t ALTER q SET DEFAULT 'rr';
         ALTER TABLE t ADD r text; ALTER TABLE t ALTER r SET DEFAULT 'rr'",
    );
    run(&mut conn, REFRESH);
    assert_eq!(read(&mut conn, &at, "concat_ws(' ', q, r)"), "1 qq, 2 qq");
}

/// The default of an added column is converted by later migrations as a recorded value is, and is in the gap of one that
/// nothing shows.
#[test]
fn converted_since() {
    for (add, migration, expression, expected) in [
        (
            "s int NOT NULL DEFAULT 500",
            "ALTER TABLE t ALTER s DROP DEFAULT, ALTER s TYPE numeric(9,2) USING s / 100.0",
            "s / 100.0",
            "1 5, 2 5",
        ),
        (
            "s int NOT NULL DEFAULT 11",
            "ALTER TABLE t ALTER s TYPE bigint USING s * 10",
            "s * 10",
            "1 110, 2 110",
        ),
    ] {
        for written in ["SELECT 1", "UPDATE t SET o = 9"] {
            let (_database, mut conn, at) = added(&format!("ALTER TABLE t ADD {add}"));
            run(
                &mut conn,
                &format!("{written}; BEGIN; {migration}; {REFRESH}; COMMIT"),
            );
            let message = error(&mut conn, &past(&at, "s"));
            assert!(
                message.contains("column s of public.t has no value before"),
                "{migration}: {message}"
            );
            let shown = r#"SELECT bool_and("row" -> 's' ? 'gap')::text FROM threadline.versions(NULL::t) WHERE captured_at <= '{at}'"#;
            assert_eq!(
                text(&mut conn, &shown.replace("{at}", &at)).as_deref(),
                Some("true")
            );
            run(
                &mut conn,
                &format!("SELECT threadline.declare_conversion('t', 's', '{expression}')"),
            );
            assert_eq!(
                read(&mut conn, &at, "trim_scale(s::numeric)"),
                expected,
                "{migration}"
            );
        }
    }
    let (_database, mut conn, at) = added("ALTER TABLE t ADD s int NOT NULL DEFAULT 7");
    run(
        &mut conn,
        &format!("ALTER TABLE t ALTER s TYPE text; {REFRESH}"),
    );
    assert_eq!(read(&mut conn, &at, "s"), "1 7, 2 7");
    let (_database, mut conn, at) = added(
        "CREATE TYPE mood AS ENUM ('sad', 'ok') / ALTER TABLE t ADD s mood NOT NULL DEFAULT 'sad'",
    );
    run(
        &mut conn,
        &format!("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'; {REFRESH}"),
    );
    assert_eq!(read(&mut conn, &at, "s"), "1 blue, 2 blue");
}
