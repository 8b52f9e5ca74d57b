//! Values that are not recorded: the writes that made them, and what reads say of them.

use super::keys::clock;
use super::*;
use crate::common::{error, text};

/// A value that cannot be in an image never fails a write, in any operation; its length and hash are recorded, the other
/// columns can be read, and reading it says that it was not recorded.
#[test]
fn never_fails_a_write() {
    for granularity in ["row", "statement"] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, j json, js json[], v int); SELECT threadline.audit_table('t', granularity => '{granularity}');
             INSERT INTO t VALUES (1, '{{\"a\": \"\\u0000\"}}', ARRAY['1e400000'::json], 1), (2, '1e400000', NULL, 1), (3, '{{\"threadline\": \"not recorded\"}}', NULL, 1)"
        ));
        let at = clock(&mut conn);
        run(
            &mut conn,
            "UPDATE t SET v = 2; UPDATE t SET j = '{\"b\": \"\\u0000\"}' WHERE id = 2; UPDATE t SET j = '1', js = NULL; DELETE FROM t WHERE id = 1; TRUNCATE t",
        );
        let recorded = "SELECT data_after -> 'j' ->> 'length' || ' ' || (data_after -> 'j' ->> 'sha256') || ' ' || (data_after ->> '') FROM threadline.audit_changes ORDER BY id LIMIT 1";
        assert_eq!(
            text(&mut conn, recorded).as_deref(),
            Some(
                r#"15 01a90484c31b68e42d5b5a628f0c342ee23f6ac1470ba6e802bf045341d694a7 ["j", "js"]"#
            )
        );
        let read = |columns: &str, id: u8| {
            format!(
                "SELECT {columns} FROM threadline_internal.\"as_of t\"(NULL::t, '{at}') WHERE id = {id}"
            )
        };
        assert_eq!(text(&mut conn, &read("v", 1)).as_deref(), Some("1"));
        for (column, id) in [("j", 1), ("js", 1), ("j", 2)] {
            let message = error(&mut conn, &read(column, id));
            assert!(
                message.contains(&format!("of public.t did not record column {column}")),
                "{message}"
            );
        }
        assert_eq!(text(&mut conn, &read("js", 2)), None);
        // What only looks like a replacement is a value.
        assert_eq!(
            text(&mut conn, &read("j", 3)).as_deref(),
            Some(r#"{"threadline": "not recorded"}"#)
        );
        let versions = "SELECT string_agg(changed_fields::text, ' ' ORDER BY id) FROM threadline.versions(NULL::t, 2)";
        assert_eq!(
            text(&mut conn, versions).as_deref(),
            Some("{j,v,id,js} {v} {j} {j} {j,v,id,js}")
        );
    }
}

/// A row that is too large to be JSON is recorded without its largest value; a column that is excluded is never read.
#[test]
fn large_values() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, t text, e bytea); SELECT threadline.audit_table('t', exclude => '{e}');
         INSERT INTO t VALUES (1, repeat('x', 130000000), decode(repeat('ab', 135000000), 'hex')); UPDATE t SET t = 'y'; DELETE FROM t",
    );
    let recorded =
        "SELECT data_after -> 't' ->> 'length' FROM threadline.audit_changes WHERE op = 'insert'";
    assert_eq!(text(&mut conn, recorded).as_deref(), Some("130000000"));
    let count = "SELECT count(*) FROM threadline.audit_changes";
    assert_eq!(text(&mut conn, count).as_deref(), Some("3"));
}

/// Where a table must record all it can, the write fails instead.
#[test]
fn strict() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, j json); SELECT threadline.audit_table('t'); SELECT threadline.require_values('t')",
    );
    let message = error(&mut conn, "INSERT INTO t VALUES (1, '1e400000')");
    assert!(
        message.contains("value overflows numeric format"),
        "{message}"
    );
    run(
        &mut conn,
        "SELECT threadline.refresh_audited_tables(); SELECT threadline.audit_table('t')",
    );
    error(&mut conn, "INSERT INTO t VALUES (1, '1e400000')");
    run(
        &mut conn,
        "SELECT threadline.require_values('t', false); INSERT INTO t VALUES (1, '1e400000')",
    );
}

/// A restore leaves what was not recorded as it is, and says so.
#[test]
fn restores() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, j json, v int); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, '1e400000', 1);
         UPDATE t SET v = 2, j = '5'",
    );
    let skipped = "SELECT r.op || ' ' || r.skipped_columns::text FROM threadline.audit_changes AS c
       CROSS JOIN LATERAL threadline.restore(NULL::t, c.transaction_id, c.captured_at, c.id, 9223372036854775807) AS r WHERE c.op = 'insert'";
    assert_eq!(text(&mut conn, skipped).as_deref(), Some("update {j}"));
    assert_eq!(
        text(&mut conn, "SELECT t::text FROM t").as_deref(),
        Some("(1,5,1)")
    );
}

/// Amounts of money are exact, whatever the locale of the reader, as columns and as keys.
#[test]
fn money() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (m money PRIMARY KEY, v int, ms money[]); SELECT threadline.audit_table('t'); INSERT INTO t VALUES ('12.34', 1, '{-0.05}')",
    );
    let at = clock(&mut conn);
    run(&mut conn, "UPDATE t SET v = 2");
    let locales = "SELECT coalesce(string_agg(DISTINCT collcollate, ','), '') FROM pg_collation WHERE collprovider = 'c' AND collcollate ~ '^(de_DE|es_CO|ja_JP)'";
    let locales = text(&mut conn, locales).unwrap();
    let locales: Vec<_> = locales.split(',').filter(|l| !l.is_empty()).collect();
    if locales.is_empty() {
        eprintln!("skipped: the server has no locale that writes money in another way");
    }
    for locale in locales.into_iter().chain(["C"]) {
        run(&mut conn, &format!("SET lc_monetary = '{locale}'"));
        for read in [
            format!("SELECT (m / '0.01'::money)::text || ms::text FROM threadline_internal.\"as_of t\"(NULL::t, '{at}')"),
            "SELECT ((typed_row).m / '0.01'::money)::text || (typed_row).ms::text FROM threadline.versions(NULL::t) WHERE op = 'insert'".to_owned(),
        ] {
            let value = text(&mut conn, &read).unwrap();
            assert!(value.starts_with("1234"), "{locale}: {value}");
        }
    }
}

diesel::table! { retyped { id -> Integer, a -> Nullable<Integer>, v -> Integer } }

#[derive(Debug, Queryable, Selectable, Audited)]
#[diesel(table_name = retyped)]
#[expect(dead_code, reason = "it is never loaded")]
struct Whole {
    id: i32,
    a: Option<i32>,
    v: i32,
}

#[derive(Debug, Queryable, Selectable, Audited)]
#[diesel(table_name = retyped)]
struct Part {
    id: i32,
    v: i32,
}

/// History names the column and the change of a value that the present type refuses; a model without the column works.
#[test]
fn history_names_column_and_change() {
    let (_database, mut conn) = database(
        "CREATE TABLE retyped (id int PRIMARY KEY, a text, v int NOT NULL); SELECT threadline.audit_table('retyped');
         INSERT INTO retyped VALUES (1, 'five', 1); UPDATE retyped SET a = '6', v = 2;
         ALTER TABLE retyped ALTER a TYPE int USING a::int; SELECT threadline.refresh_audited_tables()",
    );
    let refused = Whole::history(1)
        .load::<Version<Whole>>(&mut conn)
        .unwrap_err()
        .to_string();
    assert!(
        refused.starts_with("column a of public.retyped has no value before ")
            || refused.starts_with("the value of column a that change "),
        "{refused}"
    );
    let parts: Vec<Version<Part>> = Part::history(1)
        .order(threadline::change::id.asc())
        .load(&mut conn)
        .unwrap();
    let values: Vec<_> = parts.iter().map(|part| (part.row.id, part.row.v)).collect();
    assert_eq!(values, [(1, 1), (1, 2)]);
}

/// A key may have any collation where it is joined with another column.
#[test]
fn collations_in_joins() {
    let (_database, mut conn) = database(
        "CREATE TABLE cust (code text COLLATE \"de-x-icu\" PRIMARY KEY, v text); SELECT threadline.audit_table('cust');
         INSERT INTO cust VALUES ('a', 'b'); CREATE TABLE other (c text COLLATE \"en-x-icu\"); INSERT INTO other VALUES ('a')",
    );
    let at = clock(&mut conn);
    run(&mut conn, "UPDATE cust SET v = 'c'");
    for (from, column) in [
        ("cust", "code"),
        ("other", "c"),
        ("(SELECT 'a'::text COLLATE \"C\" AS c)", "c"),
    ] {
        for read in [
            format!("SELECT string_agg(v.op, ' ' ORDER BY v.id) FROM {from} AS k, LATERAL threadline.versions(NULL::cust, k.{column}) AS v"),
            format!(
                "SELECT r.state || ' ' || t.v FROM {from} AS k, LATERAL threadline.row_as_of(NULL::cust, '{at}', k.{column}) AS r,
                 LATERAL threadline.row_of(NULL::cust, r.image, r.image_of, k.{column}) AS t"
            ),
        ] {
            let value = text(&mut conn, &read).unwrap();
            assert!(["insert update", "found b"].contains(&value.as_str()), "{read}: {value}");
        }
    }
}
