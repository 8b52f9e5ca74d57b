use super::*;

/// Sessions that write everything differently.
const ODD_SESSION: &str =
    "SET DateStyle = 'German'; SET TimeZone = 'Asia/Kathmandu'; SET IntervalStyle = 'sql_standard';
    SET extra_float_digits = -5; SET bytea_output = 'escape';";

/// Keys and rows of a table are recorded as if they had been inserted under capture, into a table like it.
#[track_caller]
fn assert_as_captured(conn: &mut PgConnection, table: &str, redaction: &str) {
    run(
        conn,
        &format!(
            "CREATE TABLE twin (LIKE {table} INCLUDING ALL); SELECT threadline.audit_table('twin'{redaction}), threadline.audit_table('{table}'{redaction});
             INSERT INTO twin SELECT * FROM {table}"
        ),
    );
    record(conn, table);
    let recorded = |relation: &str, op: &str| {
        format!(
            "SELECT key_integer, key_bigint, key_uuid, key_text, moved_key, data_after::text, changed_from, context FROM threadline.audit_changes
              WHERE table_id = (SELECT id FROM threadline.audited_tables WHERE relation = '{relation}'::regclass) AND op = '{op}'"
        )
    };
    let (captured, snapshots) = (recorded("twin", "insert"), recorded(table, "snapshot"));
    let differences = format!(
        "SELECT concat_ws(' ', (SELECT count(*) FROM ({snapshots}) AS s), (SELECT count(*) FROM {table}),
           (SELECT jsonb_agg(d) FROM (({captured} EXCEPT ALL {snapshots}) UNION ALL ({snapshots} EXCEPT ALL {captured})) AS d))"
    );
    let rows = text(conn, &format!("SELECT count(*) FROM {table}")).unwrap();
    assert_eq!(
        text(conn, &differences).unwrap(),
        format!("{rows} {rows}"),
        "{table}"
    );
    run(
        conn,
        "SELECT threadline.unaudit_table('twin'); DROP TABLE twin CASCADE; DELETE FROM threadline.audited_tables WHERE table_name = 'twin'",
    );
}

/// A key of any type is gone on behind, and recorded as capture would record it.
#[test]
fn keys() {
    let (_database, mut conn) = database(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE TYPE point2 AS (x int, y text); CREATE DOMAIN code AS text COLLATE \"C\" CHECK (VALUE <> '')",
    );
    run(&mut conn, ODD_SESSION);
    let keys = [
        ("smallint", "-3, 0, 7, 32767, 5"),
        ("integer", "-2147483648, 0, 2147483647, 1, 2"),
        (
            "bigint",
            "-9223372036854775808, 9223372036854775807, 0, 1, 2",
        ),
        (
            "uuid",
            "md5('a'), md5('b'), md5('c'), md5('d'), '00000000-0000-0000-0000-000000000000'",
        ),
        ("text", "'', 'é', E'e\u{301}', 'null', '\"q\" \\\\ '''"),
        ("text COLLATE \"C\"", "'Z', 'a', 'ä', 'B', ' '"),
        ("varchar(5)", "'a', 'b ', 'b', 'B', 'ab'"),
        ("char(5)", "'a', 'b', 'abc', '', 'B'"),
        ("code", "'a', 'B', 'é', 'z', 'Z'"),
        ("mood", "'sad', 'happy', 'ok'"),
        (
            "numeric",
            "1.50, 'NaN', -1e30, 0.00, 12345678901234567890.10",
        ),
        ("float8", "0.1, 'NaN', 'Infinity', '-Infinity', 1e300"),
        ("boolean", "true, false"),
        (
            "date",
            "'2024-01-02', 'infinity', '-infinity', '0044-03-15 BC', '2024-02-01'",
        ),
        (
            "timestamptz",
            "'2024-01-02 03:04:05.678901+00', 'infinity', '0001-01-01 BC', '2024-02-01', now()",
        ),
        (
            "interval",
            "'1 day', '24 hours 1 second', '-1 month', '0', '1 year 2 days -3 hours'",
        ),
        ("bytea", r"'\x00ff', '\x', '\x41', '\x5c', '\x27'"),
        ("int[]", "'{1,2}', '{}', '{NULL}', '{1,10}', '{2}'"),
        (
            "daterange",
            "'[2024-01-02,2024-02-01)', 'empty', '(,)', '[2024-01-01,)', '(,2024-01-01)'",
        ),
        (
            "inet",
            "'10.0.0.1', '::1', '10.0.0.0/8', '10.0.0.2', '9.9.9.9'",
        ),
        (
            "jsonb",
            "'null', '{\"b\": 1, \"a\": [null]}', '\"x\"', '1.0', '[]'",
        ),
        (
            "point2",
            "ROW(1, 'a'), ROW(1, NULL), ROW(NULL, 'b'), ROW(2, ''), ROW(-1, 'é')",
        ),
    ];
    for (number, (key, values)) in keys.into_iter().enumerate() {
        let plain = key.split(" COLLATE").next().unwrap_or(key);
        let values: Vec<_> = split(values)
            .into_iter()
            .map(|value| format!("(CAST({value} AS {plain}), 1)"))
            .collect();
        run(
            &mut conn,
            &format!(
                "CREATE TABLE key_{number} (k {key} PRIMARY KEY, v int); INSERT INTO key_{number} VALUES {}",
                values.join(", ")
            ),
        );
        assert_as_captured(&mut conn, &format!("public.key_{number}"), "");
    }
}

/// At the commas outside of quotes and brackets.
fn split(values: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut quoted = false;
    let outside = move |c: char| {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        c == ',' && !quoted && depth == 0
    };
    values.split(outside).map(str::trim).collect()
}

/// A key of several columns, whose operators may stand in several schemas; names that need quotes; included columns.
#[test]
fn composite_keys() {
    let (_database, mut conn) = database(
        r#"CREATE SCHEMA "Odd ""schema"""; CREATE EXTENSION citext SCHEMA "Odd ""schema""""#,
    );
    run(&mut conn, ODD_SESSION);
    run(
        &mut conn,
        r#"CREATE TABLE "Odd ""schema"""."T ""x"" %s" ("The ""Key""" date, "from" text, v numeric, PRIMARY KEY ("from", "The ""Key""") INCLUDE (v));
           INSERT INTO "Odd ""schema"""."T ""x"" %s" SELECT date '2024-01-02' + g, 'f' || g % 2, g FROM generate_series(1, 7) AS g;
           CREATE TABLE mixed (a int, b "Odd ""schema""".citext, c uuid, PRIMARY KEY (a, b, c));
           INSERT INTO mixed SELECT g % 2, chr(64 + g % 4) , md5(g::text)::uuid FROM generate_series(1, 12) AS g"#,
    );
    assert_as_captured(&mut conn, r#""Odd ""schema"""."T ""x"" %s""#, "");
    assert_as_captured(&mut conn, "public.mixed", "");
}

/// What is masked or excluded is so in a snapshot.
#[test]
fn redaction() {
    let (_database, mut conn) = database(
        "CREATE TABLE people (id int PRIMARY KEY, email text, secret text, note json, at timestamptz, span interval, raw bytea, f float8);
         INSERT INTO people SELECT g, CASE WHEN g > 1 THEN 'e' END, 's', '{\"b\":1, \"a\":  2}', now(), '1 day 2 hours', '\\x00', 0.1 FROM generate_series(1, 5) AS g;",
    );
    run(&mut conn, ODD_SESSION);
    assert_as_captured(
        &mut conn,
        "public.people",
        ", mask => '{email}', exclude => '{secret}'",
    );
    let stored = "SELECT count(*) FROM threadline.audit_changes WHERE data_after ? 'secret' OR data_after ->> 'email' <> '[REDACTED]'";
    assert_eq!(text(&mut conn, stored).as_deref(), Some("0"));
}

/// The rows of all partitions, wherever they stand.
#[test]
fn partitions() {
    let (_database, mut conn) = database(
        "CREATE TABLE parcels (region text, id int, weight numeric, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
         CREATE TABLE parcels_eu PARTITION OF parcels FOR VALUES IN ('eu') PARTITION BY RANGE (id);
         CREATE TABLE parcels_eu_1 PARTITION OF parcels_eu FOR VALUES FROM (0) TO (4);
         CREATE TABLE parcels_eu_2 PARTITION OF parcels_eu DEFAULT;
         CREATE TABLE parcels_other (weight numeric, id int NOT NULL, region text NOT NULL);
         ALTER TABLE parcels ATTACH PARTITION parcels_other DEFAULT;
         INSERT INTO parcels SELECT CASE g % 2 WHEN 1 THEN 'eu' ELSE 'us' END, g, 1.50 FROM generate_series(1, 9) AS g",
    );
    assert_as_captured(&mut conn, "public.parcels", "");
    let estimate =
        "SELECT row_estimate > 0 FROM threadline.continuity WHERE table_name = 'parcels'";
    run(
        &mut conn,
        "ANALYZE parcels_other, parcels_eu_1, parcels_eu_2",
    );
    assert_eq!(text(&mut conn, estimate).as_deref(), Some("true"));
    run(
        &mut conn,
        "CREATE TABLE parcels_new PARTITION OF parcels FOR VALUES IN ('sea'); SELECT threadline.unaudit_table('parcels');
         INSERT INTO parcels VALUES ('sea', 1, 1); SELECT threadline.audit_table('parcels')",
    );
    assert_eq!(record(&mut conn, "parcels").recorded, 10);
}

/// The settings of a baseline are those of a truncation, which reads a table as well.
#[test]
fn settings() {
    let (_database, mut conn) = database("SELECT 1");
    let pinned = "SELECT bool_and(p.proconfig @> threadline_internal.pinned_settings('truncate')) FROM pg_proc AS p WHERE p.proname = 'baseline_step'";
    assert_eq!(text(&mut conn, pinned).as_deref(), Some("true"));
}
