//! Law 7: keys and images are the same whatever the writer's and the reader's settings are.

use super::{GRANULARITIES, count, ops, texts};
use crate::common::{database, error, run};

const SETTINGS: [&str; 5] = [
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; SET bytea_output = 'hex'",
    "SET TimeZone = 'America/New_York'; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'; SET extra_float_digits = 0; SET bytea_output = 'escape'",
    "SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = -15; SET bytea_output = 'escape'",
    "SET TimeZone = 'Pacific/Apia'; SET DateStyle = 'Postgres, MDY'; SET IntervalStyle = 'postgres_verbose'; SET extra_float_digits = 3; SET lc_monetary = 'C'",
    "SET TimeZone = '-03:30'; SET DateStyle = 'ISO, YMD'; SET quote_all_identifiers = on; SET array_nulls = off; SET xmloption = 'document'; SET standard_conforming_strings = on",
];

/// Values whose text depends on a setting, written without a literal that does.
const VALUES: &str = "make_date(2024, 3, 4), make_timestamp(2024, 3, 4, 5, 6, 7.891), make_interval(1, 2, 0, 3, 4, 5, 6.5), 1e0::float8 / 3, (1e0 / 7)::float4,
    decode('00ff5c41', 'hex'), 1234.5::numeric::money, daterange(make_date(2024, 3, 4), make_date(2024, 5, 6)),
    tstzrange(to_timestamp(1709528767.25), NULL), ARRAY[to_timestamp(1709528767.25), NULL], ROW(make_date(2024, 3, 4), 1e0 / 3)::pair, '01:02:03.5+00'::timetz";

const COLUMNS: &str = "d date, ts timestamp, i interval, f8 float8, f4 float4, b bytea, m money, dr daterange, tr tstzrange, a timestamptz[], c pair, tz timetz";

/// The same row written under any settings has the same key and image; read under any, its versions are found and are the same.
#[test]
fn any_settings() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database(&format!(
            "CREATE TYPE pair AS (d date, f float8);
             CREATE TABLE t (id timestamptz PRIMARY KEY, n int, {COLUMNS}); CREATE TABLE u (id int, dr daterange, f8 float8, i interval, b bytea, PRIMARY KEY (id, dr, f8, i, b));
             SELECT threadline.audit_table('t', granularity => '{granularity}'), threadline.audit_table('u', granularity => '{granularity}')"
        ));
        for settings in SETTINGS {
            run(
                &mut conn,
                &format!(
                    "{settings}; INSERT INTO t SELECT to_timestamp(1709528767.25), 0, {VALUES}; UPDATE t SET n = 1; UPDATE t SET id = id + interval '1 us'; DELETE FROM t;
                     INSERT INTO t SELECT to_timestamp(1709528767.25), 0, {VALUES}; TRUNCATE t;
                     INSERT INTO u VALUES (1, daterange(make_date(2024, 3, 4), make_date(2024, 5, 6)), 1e0::float8 / 3, make_interval(1, 2, 0, 3, 4, 5, 6.5), decode('00ff5c41', 'hex')); DELETE FROM u; RESET ALL"
                ),
            );
        }
        let images = texts(
            &mut conn,
            "SELECT concat_ws(' ', table_id, op, key_text, moved_key, data_after, changed_from) AS value FROM threadline.audit_changes GROUP BY 1 HAVING count(*) IN (5, 10) ORDER BY 1",
        );
        assert_eq!(images.len(), 8, "{images:#?}");
        assert_eq!(
            count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
            45
        );
        assert!(
            images
                .iter()
                .any(|image| image.contains("2024-03-04T05:06:07.25+00:00 ")
                    && image.contains("0.3333333333333333")
                    && image.contains(r"\\x00ff5c41")),
            "{images:#?}"
        );

        let mut read = Vec::new();
        for settings in SETTINGS {
            run(&mut conn, settings);
            assert_eq!(
                count(
                    &mut conn,
                    "SELECT count(*) FROM threadline.versions(NULL::t, to_timestamp(1709528767.25))"
                ),
                25,
                "{settings}"
            );
            assert_eq!(
                count(
                    &mut conn,
                    "SELECT count(*) FROM threadline.versions(NULL::u, 1, daterange(make_date(2024, 3, 4), make_date(2024, 5, 6)), 1e0::float8 / 3, make_interval(1, 2, 0, 3, 4, 5, 6.5), decode('00ff5c41', 'hex'))"
                ),
                10,
                "{settings}"
            );
            let row = format!(
                "SELECT count(*) FROM threadline.versions(NULL::t, to_timestamp(1709528767.25)) AS v WHERE v.typed_row = ROW(to_timestamp(1709528767.25), 0, {VALUES})::t"
            );
            assert_eq!(count(&mut conn, &row), 15, "{settings}");
            read.push(texts(&mut conn, "SELECT concat(row_key, moved_key, \"row\", row_before) AS value FROM threadline.versions(NULL::t) ORDER BY id"));
            run(&mut conn, "RESET ALL");
        }
        read.dedup();
        assert_eq!(read.len(), 1);
    }
}

/// Settings changed between the halves of a key change, or within a statement, change nothing either.
#[test]
fn settings_changed_in_a_statement() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (id date PRIMARY KEY, x text); SELECT threadline.audit_table('t', granularity => '{granularity}');
             SET DateStyle = 'SQL, DMY'; INSERT INTO t SELECT make_date(2024, 3, 4), set_config('DateStyle', 'German', false); UPDATE t SET id = id + 1;
             SET DateStyle = 'SQL, MDY'; DELETE FROM t"
        ));
        assert_eq!(
            ops(&mut conn, "t"),
            [
                "insert 2024-03-04",
                "delete 2024-03-04>2024-03-05",
                "insert 2024-03-05>2024-03-04",
                "delete 2024-03-05"
            ]
        );
    }
}

/// Auditing or refreshing under other settings finds the same definition, and defaults of columns added since are the same.
#[test]
fn installed_under_any_settings() {
    for settings in SETTINGS {
        let (_database, mut conn) = database(
            "CREATE TABLE t (id uuid PRIMARY KEY, x text); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (gen_random_uuid())",
        );
        let definition = "SELECT count(DISTINCT concat(key_type, definition, granularity)) FROM (SELECT * FROM threadline.audited_tables UNION ALL SELECT * FROM before) AS a";
        run(
            &mut conn,
            &format!(
                "CREATE TEMP TABLE before AS SELECT * FROM threadline.audited_tables; {settings}; SELECT threadline.refresh_audited_tables(); RESET ALL"
            ),
        );
        assert_eq!(count(&mut conn, definition), 1, "{settings}");
        run(
            &mut conn,
            &format!(
                "ALTER TABLE t ADD d date NOT NULL DEFAULT '2024-03-04', ADD f float8 DEFAULT 0.1, ADD b bytea DEFAULT '\\x00ff'; {settings}; SELECT threadline.refresh_audited_tables(); RESET ALL"
            ),
        );
        let rows = texts(
            &mut conn,
            "SELECT concat((typed_row).d, ' ', (typed_row).f, ' ', (typed_row).b) AS value FROM threadline.versions(NULL::t)",
        );
        assert_eq!(rows, [r"2024-03-04 0.1 \x00ff"], "{settings}");
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(key_uuid) FROM threadline.audit_changes"
            ),
            1,
            "{settings}"
        );
    }
}

/// With strings in which a backslash escapes, as old servers had them, tables are audited, written, read and acted on as ever.
#[test]
fn backslashes_that_escape() {
    let (_database, mut conn) = database(
        r#"SET standard_conforming_strings = off; SET escape_string_warning = off;
           CREATE TABLE t (id int PRIMARY KEY, "a\b'c" text DEFAULT E'x\\y''z', n numeric DEFAULT (-1.5)); ALTER TABLE t ADD v text DEFAULT E'\\d';
           SELECT threadline.audit_table('t'); INSERT INTO t (id) VALUES (1); UPDATE t SET "a\b'c" = E'\\' WHERE id = 1;
           SELECT threadline.require_reason('a.b');
           SELECT threadline.record_action('a.b', reason => 'ticket 9', actor_ref => '{"type": "user", "id": "7"}')"#,
    );
    let now = r#"SELECT concat("a\b'c", n, v) AS value FROM threadline.as_of(NULL::t, clock_timestamp())"#;
    assert_eq!(texts(&mut conn, now), [r"\-1.5\d"]);
    let before = r"SELECT changed_from ->> E'a\\b''c' AS value FROM threadline.versions(NULL::t, 1) ORDER BY id DESC LIMIT 1";
    assert_eq!(texts(&mut conn, before), [r"x\y'z"]);
    for name in ["a b", "ab", "axb"] {
        let refused = format!("SELECT threadline.record_action('{name}', reason => 'r')");
        assert!(
            error(&mut conn, &refused).starts_with("this is no name"),
            "{name}"
        );
    }
    for reason in ["''", "' '", "E'\\t'"] {
        let refused = format!(
            r#"SELECT threadline.record_action('a.b', reason => {reason}, actor_ref => '{{"type": "user", "id": "7"}}')"#
        );
        assert!(
            error(&mut conn, &refused).starts_with("a.b needs a reason"),
            "{reason}"
        );
    }
    super::assert_no_gap(&mut conn, "t");
}
