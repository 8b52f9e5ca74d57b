//! Law 3: comparison is on values, and every row is recorded as what it was and became.

use super::{GRANULARITIES, assert_no_gap, audit, count, ops};
use crate::common::{database, run, text};
use crate::skipped::since;

/// An update that changes no value records nothing, whatever its text looks like.
#[test]
fn nothing_changed() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database(
            "CREATE TABLE t (id int PRIMARY KEY, n numeric, f float8, j json, jb jsonb, p point, x tsvector, c char(5), a int[])",
        );
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, 1.0, 0, '{\"a\": 1}', '{\"a\": 1}', '(1,2)', 'a b', 'x', '{1,2}')",
        );
        run(
            &mut conn,
            "UPDATE t SET id = id; UPDATE t SET n = 1.00; UPDATE t SET f = '-0'; UPDATE t SET j = '{ \"a\":1 }', jb = '{\"a\":1.0}';
             UPDATE t SET p = '(1.0,2)', c = 'x ', a = ARRAY[1,2]; UPDATE t SET n = 5 WHERE false; DELETE FROM t WHERE false",
        );
        assert_eq!(ops(&mut conn, "t"), ["insert 1"]);
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.audit_transactions"
            ),
            1
        );
        run(
            &mut conn,
            "UPDATE t SET jb = '{\"a\": \"1\"}', j = '{\"a\": \"1\"}'",
        );
        assert_eq!(
            text(
                &mut conn,
                "SELECT changed_from FROM threadline.audit_changes WHERE op = 'update'"
            )
            .as_deref(),
            Some(r#"{"j": {"a": 1}, "jb": {"a": 1.0}}"#)
        );
    }
}

/// NULL and absence, '' and NULL, and JSON null are told apart as SQL tells them apart.
#[test]
fn nulls() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) =
            database("CREATE TABLE t (id int PRIMARY KEY, a text, b jsonb)");
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1); UPDATE t SET a = ''; UPDATE t SET a = NULL; UPDATE t SET a = NULL; UPDATE t SET b = '{}'; UPDATE t SET b = NULL",
        );
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.audit_changes WHERE op = 'update'"
            ),
            4
        );
        assert_no_gap(&mut conn, "t");
    }
}

/// A statement that shifts or swaps keys ends all old ones before it begins a new one. Row triggers cannot wait for
/// A bulk update right after a small one in the same session is planned for what it is, with a key that moves too.
#[test]
fn bulk_after_one() {
    for (granularity, rows) in [("statement", 30_000), ("row", 3_000)] {
        let (_database, mut conn) =
            database("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, n int)");
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "SET statement_timeout = '30s'; INSERT INTO t SELECT -g, 0 FROM generate_series(1, 8) AS g",
        );
        for n in 1..=8 {
            run(
                &mut conn,
                &format!(
                    "UPDATE t SET n = {n} WHERE id = -{n}; UPDATE t SET id = id WHERE id = -{n}; UPDATE t SET id = {n} WHERE id = -{n}"
                ),
            );
        }
        for sql in [
            &format!("INSERT INTO t SELECT g, 0 FROM generate_series(9, {rows}) AS g"),
            "UPDATE t SET n = n + 1",
            "UPDATE t SET id = -id",
            "DELETE FROM t WHERE n = 1",
        ] {
            run(&mut conn, sql);
        }
        // The eight rows: begun, updated and moved; all rows: updated and moved; those but the eight: begun and ended.
        let recorded = count(&mut conn, "SELECT count(*) FROM threadline.audit_changes");
        assert_eq!(recorded, 8 * 4 + rows * 3 + (rows - 8) * 2);
    }
}

/// A table without a key is captured with both images; only a history by key it cannot have.
#[test]
fn no_key() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) =
            database("CREATE TABLE t (a int, b json); CREATE TABLE nothing ()");
        audit(&mut conn, "t", granularity);
        audit(&mut conn, "nothing", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, '{}'), (1, '{}'), (2, NULL); UPDATE t SET a = a + 1; UPDATE t SET a = a; DELETE FROM t WHERE a = 2; TRUNCATE t;
             INSERT INTO nothing DEFAULT VALUES; DELETE FROM nothing",
        );
        assert_eq!(
            ops(&mut conn, "t"),
            [
                "insert", "insert", "insert", "update", "update", "update", "delete", "delete",
                "truncate"
            ]
        );
        assert_eq!(
            text(&mut conn, "SELECT string_agg(row_before::text, ' ' ORDER BY id) FROM threadline.versions(NULL::t) WHERE op = 'update'").as_deref(),
            Some(r#"{"a": 1, "b": {}} {"a": 1, "b": {}} {"a": 2, "b": null}"#)
        );
        assert_eq!(ops(&mut conn, "nothing"), ["insert", "delete"]);
    }
}

/// Generated and identity columns are recorded as what they became; a virtual one follows from the others.
#[test]
fn generated_columns() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database(
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED)",
        );
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "INSERT INTO t (a) VALUES (1), (2); UPDATE t SET a = a + 1",
        );
        assert_no_gap(&mut conn, "t");
        assert_eq!(
            text(
                &mut conn,
                "SELECT changed_from FROM threadline.audit_changes WHERE op = 'update' LIMIT 1"
            )
            .as_deref(),
            Some(r#"{"a": 1, "twice": 2}"#)
        );
        if since(&mut conn, 18, "a virtual generated column") {
            run(
                &mut conn,
                "CREATE TABLE v (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) VIRTUAL)",
            );
            audit(&mut conn, "v", granularity);
            run(
                &mut conn,
                "INSERT INTO v (id, a) VALUES (1, 1); UPDATE v SET a = 2; UPDATE v SET a = 2; TRUNCATE v",
            );
            assert_eq!(ops(&mut conn, "v"), ["insert 1", "update 1", "truncate 1"]);
            assert_eq!(
                text(&mut conn, "SELECT string_agg(\"row\"::text, ' ' ORDER BY id) FROM threadline.versions(NULL::v)").as_deref(),
                Some(r#"{"a": 1, "id": 1} {"a": 2, "id": 1} {"a": 2, "id": 1}"#)
            );
        }
    }
}

/// Tables that inherit are captured each for itself, also through their parent.
#[test]
fn inheritance() {
    let (_database, mut conn) = database(
        "CREATE TABLE parent (id int PRIMARY KEY, name text); CREATE TABLE child (extra int, PRIMARY KEY (id)) INHERITS (parent);
         SELECT threadline.audit_table('parent'), threadline.audit_table('child');
         INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (2, 'c', 5);
         UPDATE parent SET name = 'x'; DELETE FROM parent WHERE id = 2; INSERT INTO child VALUES (3, 'c', 5); TRUNCATE parent",
    );
    assert_eq!(
        ops(&mut conn, "parent"),
        ["insert 1", "update 1", "truncate 1"]
    );
    assert_eq!(
        ops(&mut conn, "child"),
        ["insert 2", "update 2", "delete 2", "insert 3", "truncate 3"]
    );
    assert_no_gap(&mut conn, "child");
}

/// One statement for many rows and a statement for each leave the same record, whatever the key, and whatever the columns are called.
#[test]
fn one_or_many() {
    for (key, keys) in [
        ("int", ["1", "2", "3"]),
        (
            "bigint",
            ["-9223372036854775808", "0", "9223372036854775807"],
        ),
        (
            "uuid",
            [
                "'018f4e0e-7a30-7cc0-b1d7-6f0f2c8d1a51'",
                "'018f4e0e-7a30-7cc0-b1d7-6f0f2c8d1a52'",
                "'018f4e0e-7a30-7cc0-b1d7-6f0f2c8d1a53'",
            ],
        ),
        ("numeric", ["1.50", "2", "'NaN'"]),
        ("char(4)", ["'a'", "'b '", "''"]),
        ("jsonb", [r#"'{"a": 1.0}'"#, "'2'", "'[]'"]),
    ] {
        let (_database, mut conn) = database("SELECT 1");
        for (table, granularity) in [
            ("single", "statement"),
            ("many", "statement"),
            ("by_row", "row"),
        ] {
            run(
                &mut conn,
                &format!(
                    "CREATE TABLE {table} (row_key {key} PRIMARY KEY, typed_key int, row_image text, many text, excluded text, new_rows jsonb, key numeric, running date, generated int GENERATED ALWAYS AS (typed_key * 2) STORED);
                     SELECT threadline.audit_table('{table}', '{{many}}', '{{excluded}}', '{granularity}')"
                ),
            );
        }
        let changes = [
            "typed_key = typed_key + 1, many = 'SECRET 2'",
            "many = 'SECRET 3'",
            "excluded = 'SECRET 4'",
            r#"new_rows = '{"a": 1.0}', key = 1.0"#,
            r#"new_rows = '{"a": 1.00}', key = 1.00, row_image = NULL"#,
            "running = '2026-01-01'",
        ];
        for table in ["single", "many", "by_row"] {
            let statement = |conn: &mut diesel::PgConnection, sql: &str, each: bool| {
                if each {
                    for key in keys {
                        run(conn, &format!("{sql} WHERE row_key = {key}"));
                    }
                } else {
                    run(conn, sql);
                }
            };
            let rows: Vec<_> = keys
                .iter()
                .map(|key| format!("({key}, 1, 'image', 'SECRET 1', 'SECRET 1', '[]', 1, NULL)"))
                .collect();
            if table == "single" {
                for row in &rows {
                    run(&mut conn, &format!("INSERT INTO {table} VALUES {row}"));
                }
            } else {
                run(
                    &mut conn,
                    &format!("INSERT INTO {table} VALUES {}", rows.join(", ")),
                );
            }
            for change in changes {
                statement(
                    &mut conn,
                    &format!("UPDATE {table} SET {change}"),
                    table == "single",
                );
            }
            statement(
                &mut conn,
                &format!("DELETE FROM {table}"),
                table == "single",
            );
        }
        let record = |conn: &mut diesel::PgConnection, table: &str| {
            text(
                conn,
                &format!(
                    "SELECT string_agg(concat_ws(' ', c.op, c.row_key, c.moved_key, c.data_after, c.changed_from), E'\n' ORDER BY c.row_key, c.id)
                       FROM threadline.changes AS c WHERE c.table_name = '{table}'"
                ),
            )
        };
        let many = record(&mut conn, "many");
        assert_eq!(record(&mut conn, "single"), many, "{key}");
        assert_eq!(record(&mut conn, "by_row"), many, "{key}");
        let many = many.expect("there are changes");
        assert_eq!(many.lines().count(), keys.len() * 7, "{many}");
        assert!(!many.contains("SECRET"), "{many}");
    }
}

/// An update of nothing is told where capture knew no column to compare.
#[test]
fn nothing_to_compare() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database("CREATE TABLE t (); CREATE TABLE x (a int, b int)");
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            &format!(
                "SELECT threadline.audit_table('x', exclude => '{{a,b}}', granularity => '{granularity}');
                 INSERT INTO t DEFAULT VALUES; ALTER TABLE t ADD c int; UPDATE t SET c = 1; UPDATE t SET c = 1;
                 INSERT INTO x VALUES (1, 2); ALTER TABLE x ADD c int; UPDATE x SET a = 3"
            ),
        );
        let updates = "SELECT string_agg(changed_from::text, ' ') FROM threadline.audit_changes WHERE op = 'update'";
        assert_eq!(text(&mut conn, updates).as_deref(), Some(r#"{"c": null}"#));
    }
}
