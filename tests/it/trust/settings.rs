//! Settings of a session change nothing of what is installed, found wrong or recorded.

use diesel::PgConnection;

use crate::common::{database, run, text};

const TABLES: &str = r#"CREATE SCHEMA "Odd s"; CREATE DOMAIN price AS numeric(9, 2); CREATE TYPE mood AS ENUM ('happy');
    CREATE TABLE "Odd s"."it's" ("select" int PRIMARY KEY, "back\slash" text DEFAULT 'a\b', day date DEFAULT '2026-02-01', price price, mood mood DEFAULT 'happy');
    CREATE TABLE parted (day date PRIMARY KEY, note text) PARTITION BY RANGE (day); CREATE TABLE parted_all PARTITION OF parted DEFAULT;
    CREATE TABLE plain (id bigint PRIMARY KEY, secret text, age interval DEFAULT '1 day')"#;

const AUDIT: &str = r#"SELECT threadline.audit_table('"Odd s"."it''s"', exclude => '{price}'), threadline.audit_table('parted'),
    threadline.audit_table('plain', mask => '{secret}', granularity => 'row')"#;

const SETTINGS: &[&str] = &[
    "quote_all_identifiers = on",
    "standard_conforming_strings = off",
    "escape_string_warning = on",
    "backslash_quote = off",
    "DateStyle = 'German'",
    "DateStyle = 'SQL, DMY'",
    "IntervalStyle = 'iso_8601'",
    "TimeZone = 'Asia/Kolkata'",
    "search_path = ''",
    "search_path = 'Odd s', pg_temp",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_deferrable = on",
    "bytea_output = 'escape'",
    "extra_float_digits = 0",
    "lc_monetary = 'C'",
    "xmloption = 'document'",
    "transform_null_equals = on",
    "array_nulls = off",
    "enable_seqscan = off",
    "enable_indexscan = off",
    "row_security = off",
    "check_function_bodies = off",
    "default_tablespace = ''",
    "client_min_messages = 'error'",
    "plpgsql.variable_conflict = 'use_variable'",
    "plpgsql.extra_errors = 'all'",
    "statement_timeout = '1min'",
    "lock_timeout = '1min'",
    "jit = on",
    "jit_above_cost = 0",
];

/// What reads the audit log, without what a setting makes of a time.
const READS: &[&str] = &[
    r#"SELECT string_agg(concat(v.op, v.row_key, v."row", v.diff), ';' ORDER BY v.id) FROM threadline.versions(NULL::public.plain) AS v"#,
    r#"SELECT string_agg(concat(v.op, v.row_key, v."row", v.diff), ';' ORDER BY v.id) FROM threadline.versions(NULL::public.plain, 2::bigint) AS v"#,
    r#"SELECT string_agg(concat(v.op, v.row_key, v."row"), ';' ORDER BY v.id) FROM threadline.versions(NULL::"Odd s"."it's", 1) AS v"#,
    r"SELECT string_agg(concat(v.op, v.row_key), ';' ORDER BY v.id) FROM threadline.versions(NULL::public.parted, '2026-02-03'::date) AS v",
    "SELECT string_agg(concat(r.id, r.secret), ';' ORDER BY r.id) FROM threadline.as_of(NULL::public.plain, now()) AS r",
    "SELECT string_agg(concat(r.id, r.secret), ';' ORDER BY r.id) FROM threadline.as_of(NULL::public.plain, now(), 2::bigint) AS r",
    "SELECT string_agg(concat(r.id, r.secret), ';' ORDER BY r.id) FROM threadline_internal.\"as_of public.plain\"(NULL::public.plain, now()) AS r",
    r#"SELECT string_agg(concat(r."back\slash", r.mood), ';') FROM threadline_internal."as_of Odd s.it's"(NULL::"Odd s"."it's", now()) AS r"#,
    "SELECT concat(r.state, r.image, t.secret) FROM threadline.row_as_of(NULL::public.plain, now(), 2::bigint) AS r,
            LATERAL threadline.row_of(NULL::public.plain, r.image, r.image_of, 2::bigint) AS t",
    "SELECT string_agg(concat(t.op, t.row_key, t.\"row\"), ';' ORDER BY t.id) FROM threadline.timeline() AS t",
    r#"SELECT string_agg(concat(t.op, t.row_key), ';' ORDER BY t.id) FROM threadline.timeline('{"row_key": "2"}', '{public.plain}') AS t"#,
    r"SELECT concat(threadline.timeline_count('{}', '{public.plain}'), threadline.timeline_count('{}'))",
    "SELECT count(*) FROM threadline.timeline_export()",
    "SELECT count(*) FROM threadline.transactions()",
    "SELECT count(*) FROM threadline.actions()",
    "SELECT string_agg(concat(op, row_key, data_after, changed_from), ';' ORDER BY id) FROM threadline.changes",
    "SELECT string_agg(concat(table_name, state), ';' ORDER BY table_name) FROM threadline.coverage",
    "SELECT count(*) FROM threadline.storage_usage",
    "SELECT threadline_internal.looks_secret('apiToken', 'text'::regtype)",
];

/// The audit log reads the same with any of them.
#[test]
fn of_a_reader() {
    let (_database, mut conn) = database(TABLES);
    run(&mut conn, AUDIT);
    run(
        &mut conn,
        r#"INSERT INTO public.plain VALUES (1, 's'), (3, NULL); UPDATE public.plain SET id = 2 WHERE id = 1; INSERT INTO "Odd s"."it's" VALUES (1);
           UPDATE "Odd s"."it's" SET "back\slash" = 'c\d'; INSERT INTO parted VALUES ('2026-02-03', 'x')"#,
    );
    for read in READS {
        let expected = text(&mut conn, read);
        assert!(expected.is_some(), "{read}");
        for setting in SETTINGS {
            run(&mut conn, &format!("SET {setting}"));
            assert_eq!(text(&mut conn, read), expected, "{read} with {setting}");
            run(&mut conn, "RESET ALL");
        }
    }
}

/// All that is installed, and what becomes of a write.
fn state(conn: &mut PgConnection) -> String {
    [
        "SELECT string_agg(concat_ws(' ', table_name, definition - 'database' - 'oid' - 'partitions' - 'layout', granularity, masked_columns, excluded_columns), chr(10) ORDER BY table_name) FROM threadline.audited_tables",
        "SELECT string_agg(concat_ws(' ', proname, proconfig, regexp_replace(regexp_replace(prosrc, '[0-9a-f]{64}', 'hash', 'g'), '[0-9]{5,}', 'oid', 'g')), chr(10) ORDER BY proname, proargtypes::text) FROM pg_proc WHERE pronamespace = 'threadline_internal'::regnamespace AND proname LIKE 'capture_%'",
        "SELECT string_agg(concat_ws(' ', tgrelid::regclass, tgname, tgtype, tgoldtable, tgnewtable, tgqual IS NULL), chr(10) ORDER BY tgrelid::regclass::text, tgname) FROM pg_trigger WHERE tgname LIKE '!threadline%'",
        "SELECT string_agg(concat_ws(' ', \"check\", table_name, message), chr(10) ORDER BY 1) FROM threadline.health",
        "SELECT string_agg(concat_ws(' ', table_name, state, baseline, ready), chr(10) ORDER BY table_name) FROM threadline.continuity",
    ]
    .map(|sql| text(conn, sql).unwrap_or_default())
    .join("\n")
}

#[test]
fn of_a_session() {
    let (_database, mut conn) = database(TABLES);
    run(&mut conn, AUDIT);
    let expected = state(&mut conn);
    assert!(expected.contains("capture_1_insert"));
    let since =
        "SELECT string_agg(capture_since::text, ' ' ORDER BY id) FROM threadline.audited_tables";
    for setting in SETTINGS {
        let (_database, mut conn) = database(TABLES);
        let audit = AUDIT
            .replace("'parted'", "'public.parted'")
            .replace("'plain'", "'public.plain'");
        run(&mut conn, &format!("SET {setting}; {audit}; RESET ALL"));
        assert_eq!(state(&mut conn), expected, "installed with {setting}");
        // Nor does another session find anything to do, or the same one once the setting is gone.
        let installed = text(&mut conn, since);
        run(&mut conn, &format!("SET {setting}"));
        let found = text(&mut conn, "SELECT count(*) FROM threadline.health");
        assert_eq!(found.as_deref(), Some("0"), "health with {setting}");
        run(
            &mut conn,
            &format!("{audit}; SELECT threadline.refresh_audited_tables(); RESET ALL; {audit}"),
        );
        assert_eq!(text(&mut conn, since), installed, "again with {setting}");
        assert_eq!(state(&mut conn), expected, "refreshed with {setting}");
        let write = |setting: &str| {
            format!(
                r#"SET {setting}; INSERT INTO public.plain VALUES (1, 's'); UPDATE public.plain SET id = 2; INSERT INTO "Odd s"."it's" VALUES (1); RESET ALL"#
            )
        };
        run(&mut conn, &write(setting));
        let recorded = "SELECT string_agg(concat_ws(' ', op, key_bigint, key_integer, data_after, changed_from), ';' ORDER BY id) FROM threadline.audit_changes";
        assert_eq!(
            text(&mut conn, recorded).unwrap(),
            r#"insert 1 {"id": 1, "age": "1 day", "secret": "[REDACTED]"};delete 1 {"id": 1, "age": "1 day", "secret": "[REDACTED]"};insert 2 {"id": 2, "age": "1 day", "secret": "[REDACTED]"};insert 1 {"day": "2026-02-01", "mood": "happy", "select": 1, "back\\slash": "a\\b"}"#,
            "written with {setting}"
        );
    }
}
