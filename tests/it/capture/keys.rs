//! Law 3: a changed key ends the old one and begins the new one; equal keys are one key.

use diesel::PgConnection;

use super::{GRANULARITIES, assert_no_gap, audit, count, ops, texts};
use crate::common::{database, run};
use crate::skipped::since;

/// A changed key is a delete and an insert, each naming the other; a key may move and come back.
#[test]
fn changed_keys() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) =
            database("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, name text)");
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        );
        run(&mut conn, "UPDATE t SET id = 9 WHERE id = 3");
        assert_eq!(ops(&mut conn, "t")[3..], ["delete 3>9", "insert 9>3"]);
        for sql in [
            "BEGIN; UPDATE t SET id = 5 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 5; COMMIT",
            "BEGIN; UPDATE t SET id = -1 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2; UPDATE t SET id = 2 WHERE id = -1; COMMIT",
            "BEGIN; UPDATE t SET name = 'q'; DELETE FROM t WHERE id = 9; INSERT INTO t VALUES (9, 'q'); DELETE FROM t WHERE id = 9; INSERT INTO t VALUES (9); COMMIT",
        ] {
            run(&mut conn, sql);
            assert_no_gap(&mut conn, "t");
        }
        assert_linked(&mut conn);
    }
}

/// Every half of a moved key names the other half, in the same transaction.
#[track_caller]
fn assert_linked(conn: &mut PgConnection) {
    let unlinked = "SELECT count(*) FROM threadline.changes AS d WHERE moved_key IS NOT NULL AND NOT EXISTS (
        SELECT FROM threadline.changes AS i WHERE i.transaction_id = d.transaction_id AND i.row_key = d.moved_key AND i.moved_key = d.row_key AND i.op <> d.op)";
    assert_eq!(count(conn, unlinked), 0);
}

/// that: there a key may begin again before it ended, with every row whole and linked all the same.
#[test]
fn shifted_keys() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) =
            database("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, name text)");
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "INSERT INTO t SELECT g, 'n' || g FROM generate_series(1, 3) AS g",
        );
        for sql in [
            "UPDATE t SET id = id + 1",
            "UPDATE t SET id = id - 1, name = name || '!'",
            "UPDATE t SET id = 3 - id WHERE id < 3",
            "UPDATE t SET id = CASE id WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE id END, name = CASE id WHEN 3 THEN 'third' ELSE name END",
        ] {
            run(&mut conn, sql);
            if granularity == "statement" {
                assert_no_gap(&mut conn, "t");
            }
        }
        assert_linked(&mut conn);
        assert_eq!(
            ops(&mut conn, "t").len(),
            3 + 2 * 3 + 2 * 3 + 2 * 2 + 2 * 2 + 1
        );
        let images = "SELECT count(*) FROM threadline.versions(NULL::t) AS d JOIN threadline.versions(NULL::t) AS i
            ON i.transaction_id = d.transaction_id AND i.row_key = d.moved_key AND i.moved_key = d.row_key AND i.op = 'insert'
            WHERE d.op = 'delete' AND rtrim(i.\"row\" ->> 'name', '!') = rtrim(d.row_before ->> 'name', '!')";
        assert_eq!(count(&mut conn, images), 10);
    }
}

/// The corner that cannot hold: while a deferred key stands twice, the changes of both rows share it.
#[test]
fn doubled_keys() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) =
            database("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, name text)");
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, 'a'), (2, 'b');
             BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE t SET id = 2 WHERE id = 1; UPDATE t SET id = 1 WHERE name = 'b'; COMMIT",
        );
        assert_eq!(
            ops(&mut conn, "t")[2..],
            ["delete 1>2", "insert 2>1", "delete 2>1", "insert 1>2"]
        );
    }
}

/// ON CONFLICT DO UPDATE and MERGE are the inserts, updates and deletes that they make, and nothing where they make none.
#[test]
fn upserts() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database("CREATE TABLE t (id int PRIMARY KEY, name text)");
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c');
             INSERT INTO t VALUES (1, 'a'), (2, 'B'), (4, 'd') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
             INSERT INTO t VALUES (3, 'c') ON CONFLICT (id) DO UPDATE SET id = 30; INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING",
        );
        let mut seen = ops(&mut conn, "t").split_off(3);
        seen.sort();
        assert_eq!(seen, ["delete 3>30", "insert 30>3", "insert 4", "update 2"]);
        if since(&mut conn, 15, "MERGE") {
            run(
                &mut conn,
                "MERGE INTO t USING (VALUES (1, 'a'), (2, 'x'), (4, NULL), (5, 'e'), (30, 'k')) AS s (id, name) ON t.id = s.id
                   WHEN MATCHED AND s.name IS NULL THEN DELETE WHEN MATCHED AND s.name = 'k' THEN UPDATE SET id = 31
                   WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.name)",
            );
            let mut seen = ops(&mut conn, "t").split_off(7);
            seen.sort();
            assert_eq!(
                seen,
                [
                    "delete 30>31",
                    "delete 4",
                    "insert 31>30",
                    "insert 5",
                    "update 2"
                ]
            );
        }
        assert_no_gap(&mut conn, "t");
        assert_linked(&mut conn);
    }
}

/// Composite keys of any types chain, and a change of one part moves the key.
#[test]
fn composite_keys() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database(
            "CREATE TABLE t (b text, a numeric, at timestamptz, n int, PRIMARY KEY (a, b, at))",
        );
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "INSERT INTO t SELECT 'k' || g % 5, g + 0.50, '2020-01-01Z'::timestamptz + g * interval '1 s', g FROM generate_series(1, 50) AS g;
             UPDATE t SET n = -n; UPDATE t SET b = upper(b) WHERE n < -25; UPDATE t SET a = a + 0.0; DELETE FROM t WHERE n > -10",
        );
        assert_eq!(
            count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
            50 + 50 + 50 + 9
        );
        assert_no_gap(&mut conn, "t");
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.versions(NULL::t, 1.5000, 'k1', '2020-01-01 02:00:01+02')"
            ),
            3
        );
    }
}

/// A key of any type is found again, however it is written, and equal keys are one key.
#[test]
fn keys_of_any_type() {
    let keys = [
        ("numeric", "1.0", "1.000"),
        ("numeric(9,3)", "1e3", "1000"),
        ("numeric", "NaN", "nan"),
        ("amount", "1.0", "1.00"),
        ("char(5)", "a", "a    "),
        ("bpchar", "a", "a "),
        ("code", "a", "a "),
        ("text", "it's \"x\" \\ %s", "it's \"x\" \\ %s"),
        (
            "uuid",
            "a0000000-0000-0000-0000-00000000000a",
            "{A000000000000000000000000000000A}",
        ),
        ("bigint", "-9223372036854775808", "-9223372036854775808"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        ("integer", "-2147483648", "-2147483648"),
        ("smallint", "32767", "32767"),
        ("number", "-1", "-1"),
        ("date", "2021-02-03", "Feb 3 2021"),
        ("date", "infinity", "infinity"),
        (
            "timestamptz",
            "2021-02-03 04:05:06+07",
            "2021-02-02 21:05:06+00",
        ),
        (
            "timestamptz",
            "0044-03-15 12:00:00+00 BC",
            "0044-03-15 12:00:00+00 BC",
        ),
        ("float8", "0", "-0"),
        ("float8", "0.1", "1e-1"),
        ("boolean", "true", "t"),
        ("bytea", "\\x41", "A"),
        ("inet", "10.0.0.1", "10.0.0.1/32"),
        ("int4range", "[1,3)", "[1,2]"),
        ("text[]", "{a,NULL}", "{\"a\",null}"),
    ];
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database(
            "CREATE DOMAIN amount AS numeric; CREATE DOMAIN short AS char(4); CREATE DOMAIN code AS short; CREATE DOMAIN number AS int",
        );
        for (n, (kind, key, same)) in keys.iter().enumerate() {
            let (key, same) = (key.replace('\'', "''"), same.replace('\'', "''"));
            run(
                &mut conn,
                &format!("RESET ALL; CREATE TABLE t{n} (id {kind} PRIMARY KEY, n int, moved int)"),
            );
            audit(&mut conn, &format!("t{n}"), granularity);
            run(
                &mut conn,
                &format!(
                    "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET extra_float_digits = -9; SET bytea_output = 'escape';
                     INSERT INTO t{n} VALUES ('{key}', 1); UPDATE t{n} SET id = '{same}', n = 2; UPDATE t{n} SET n = 3; DELETE FROM t{n}"
                ),
            );
            for key in [key, same] {
                assert_eq!(
                    texts(
                        &mut conn,
                        &format!(
                            "SELECT op AS value FROM threadline.versions(NULL::t{n}, '{key}') ORDER BY id"
                        )
                    ),
                    ["insert", "update", "update", "delete"],
                    "{kind} {key}"
                );
            }
        }
    }
}
