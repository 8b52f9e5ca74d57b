//! Columns that PostgreSQL computes from redacted ones.

use super::{REFRESH, assert_secret, images};
use crate::common::{count, database, error, run, text};
use crate::skipped::since;

/// What may be written for a column that tells what is in the column `secret`.
const TELLING: [&str; 6] = [
    "lower(secret)",
    "secret",
    "name || ' ' || secret",
    "CASE WHEN name > '' THEN length(secret)::text END",
    "told(secret)",
    "(ARRAY[secret])[1]",
];

const TELL: &str =
    "CREATE FUNCTION told(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT reverse($1)'";

/// A stored generated column of a redacted one must be redacted as well, whatever its expression, or the table is not audited.
#[test]
fn refused() {
    for expression in TELLING {
        let (_database, mut conn) = database(&format!(
            "{TELL}; CREATE TABLE t (id int PRIMARY KEY, name text, told text GENERATED ALWAYS AS ({expression}) STORED, secret text)"
        ));
        for redact in ["mask", "exclude"] {
            let audit = |columns| {
                format!("SELECT threadline.audit_table('t', {redact} => '{{{columns}}}')")
            };
            assert_eq!(
                error(&mut conn, &audit("secret")),
                "cannot audit public.t: column told is generated from column secret, which is redacted HINT: Mask or exclude the generated column as well.",
                "{expression}"
            );
            let both = audit("secret,told");
            run(
                &mut conn,
                &format!("BEGIN; {both}; INSERT INTO t VALUES (1, 'n', DEFAULT, 'secret-1')"),
            );
            assert!(images(&mut conn).contains(r#""name": "n""#));
            assert_secret(&mut conn);
            run(&mut conn, "ROLLBACK");
        }
    }
}

/// A virtual generated column is in no image, and the past has no value of it, as it may tell what is redacted.
#[test]
fn virtual_columns() {
    let (_database, mut conn) = database(TELL);
    if !since(&mut conn, 18, "a virtual generated column") {
        return;
    }
    run(
        &mut conn,
        "CREATE TABLE t (id int PRIMARY KEY, name text, told text GENERATED ALWAYS AS (lower(secret)) VIRTUAL, secret text);
         SELECT threadline.audit_table('t', mask => '{secret}'); INSERT INTO t VALUES (1, 'n', DEFAULT, 'secret-1'); UPDATE t SET name = 'm'",
    );
    assert_secret(&mut conn);
    let past = "SELECT told FROM threadline_internal.\"as_of t\"(NULL::t, now())";
    assert_eq!(
        error(&mut conn, past),
        "column told of public.t has no value in the past: it is computed, and may be so from redacted columns HINT: Read other columns, through the function that is named like the table, or the images in threadline.versions."
    );
}

/// Another expression can make a column tell what is redacted. It is not recorded from then on, and the refresh excludes it.
#[test]
fn expression_of_later() {
    for granularity in ["row", "statement"] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, told text GENERATED ALWAYS AS (lower(name)) STORED, name text, secret text);
             SELECT threadline.audit_table('t', mask => '{{secret}}', granularity => '{granularity}')"
        ));
        if !since(&mut conn, 17, "SET EXPRESSION") {
            return;
        }
        let write = "INSERT INTO t (id, name, secret) SELECT coalesce(max(id), 0) + 1, 'n', 'secret-1' FROM t; UPDATE t SET name = name || 'm', secret = 'secret-2'";
        run(&mut conn, write);
        run(
            &mut conn,
            "ALTER TABLE t ALTER told SET EXPRESSION AS (lower(secret))",
        );
        for begin in ["SELECT", REFRESH] {
            run(&mut conn, &format!("{begin}; {write}"));
            assert_secret(&mut conn);
        }
        assert_eq!(
            count(
                &mut conn,
                "threadline.audited_tables WHERE 'told' = ANY (excluded_columns)"
            ),
            1
        );
    }
}

const PARTITIONED: &str = "CREATE TABLE p (id int, name text, told text GENERATED ALWAYS AS (lower(name)) STORED, secret text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE p_0 PARTITION OF p FOR VALUES FROM (0) TO (10);
    CREATE TABLE p_1 (gone int, secret text, told text GENERATED ALWAYS AS (lower(secret)) STORED, id int NOT NULL, name text); ALTER TABLE p_1 DROP gone";

const ATTACH: &str = "ALTER TABLE p ATTACH PARTITION p_1 FOR VALUES FROM (10) TO (20)";

/// A partition may compute a column otherwise than its table does, and so from a redacted one.
#[test]
fn expression_of_a_partition() {
    for granularity in ["'row'", "NULL"] {
        let (_database, mut conn) = database(PARTITIONED);
        if !since(&mut conn, 16, "a partition with another expression") {
            return;
        }
        let audit = format!(
            "SELECT threadline.audit_table('p', mask => '{{secret}}', granularity => {granularity})"
        );
        run(&mut conn, &format!("BEGIN; {ATTACH}"));
        assert_eq!(
            error(&mut conn, &audit),
            "cannot audit public.p: column told is generated from column secret, which is redacted HINT: Mask or exclude the generated column as well."
        );
        run(&mut conn, "ROLLBACK");

        let write = "INSERT INTO p (id, name, secret) SELECT n + m, 'n', 'secret-1' FROM generate_series(0, 10, 10) AS n, (SELECT count(*) FROM p WHERE id < 10) AS c (m) WHERE n < {below};
            UPDATE p SET name = name || 'm', secret = 'secret-2'; INSERT INTO p (id, name, secret) VALUES ({below} - 1, 'n', 'secret-3'); DELETE FROM p WHERE id = {below} - 1";
        run(&mut conn, &audit);
        run(&mut conn, &write.replace("{below}", "10"));
        run(&mut conn, ATTACH);
        for begin in ["SELECT", REFRESH] {
            run(
                &mut conn,
                &format!("{begin}; {}", write.replace("{below}", "20")),
            );
            assert_secret(&mut conn);
        }
        assert!(images(&mut conn).contains("nmm"));
        let excluded = "SELECT 'told' = ANY (excluded_columns) FROM threadline.audited_tables";
        assert_eq!(text(&mut conn, excluded).unwrap(), "true");
    }
}

/// The same by an expression that a partition gets later.
#[test]
fn expression_of_a_partition_later() {
    for granularity in ["'row'", "NULL"] {
        let (_database, mut conn) = database(PARTITIONED);
        if !since(&mut conn, 17, "SET EXPRESSION") {
            return;
        }
        let audit = format!(
            "SELECT threadline.audit_table('p', mask => '{{secret}}', granularity => {granularity})"
        );
        let write = "INSERT INTO p (id, name, secret) SELECT count(*), 'n', 'secret-1' FROM p; UPDATE p SET name = name || 'm', secret = 'secret-2'";
        run(&mut conn, &audit);
        run(&mut conn, write);
        run(
            &mut conn,
            "ALTER TABLE p_0 ALTER told SET EXPRESSION AS (lower(secret))",
        );
        for begin in ["SELECT", REFRESH] {
            run(&mut conn, &format!("{begin}; {write}"));
            assert_secret(&mut conn);
        }
    }
}
