//! Law 6: what is excluded or masked is nowhere in the audit log, and that a masked column changed is known.

use super::{GRANULARITIES, count, texts, whole_record};
use crate::common::{database, run, text};

/// Masked and excluded columns, `x` and `n` recorded as they are.
fn redacted(
    columns: &str,
    granularity: &str,
) -> (threadline_test_support::Database, diesel::PgConnection) {
    database(&format!(
        "CREATE TABLE t ({columns}, masked text, gone jsonb, x text);
         SELECT threadline.audit_table('t', mask => '{{masked}}', exclude => '{{gone}}', granularity => '{granularity}')"
    ))
}

/// On every op the masked column is the placeholder in both images, and the excluded one is in neither.
#[test]
fn both_images() {
    for granularity in GRANULARITIES {
        for key in [
            "id int PRIMARY KEY",
            "id bigint PRIMARY KEY",
            "id text PRIMARY KEY",
            "id int",
        ] {
            let (_database, mut conn) = redacted(key, granularity);
            run(
                &mut conn,
                r#"INSERT INTO t VALUES (1, 'SECRET', '{"a": "SECRET"}', 'x'), (2, 'SECRET 2', '"SECRET 2"', 'x'), (3, NULL, NULL, 'x');
                   UPDATE t SET masked = 'SECRET new' WHERE x = 'x'; UPDATE t SET masked = NULL, x = 'y' WHERE id::int = 1;
                   UPDATE t SET x = 'z', gone = '["SECRET"]' WHERE id::int = 3;
                   UPDATE t SET id = (id::int + 10)::text::int, masked = masked || 'SECRET';
                   DELETE FROM t WHERE id::int = 11; TRUNCATE t"#
                    .replace("(id::int + 10)::text::int", if key.contains("text") { "(id::int + 10)::text" } else { "id + 10" })
                    .as_str(),
            );
            assert_eq!(
                whole_record(&mut conn).find("SECRET"),
                None,
                "{granularity} {key}"
            );
            let wrong = "SELECT count(*) FROM threadline.audit_changes
                WHERE data_after ->> 'masked' <> '[REDACTED]' OR NOT data_after ? 'masked' OR data_after ? 'gone' OR changed_from ? 'gone'
                   OR changed_from ->> 'masked' <> '[REDACTED]' OR op IN ('delete', 'truncate') AND NOT changed_from ? 'masked'
                   OR changed_from -> 'masked' = 'null'";
            assert_eq!(count(&mut conn, wrong), 0, "{granularity} {key}");
            assert_eq!(
                count(
                    &mut conn,
                    "SELECT count(*) FROM threadline.audit_changes WHERE op IN ('delete', 'truncate') AND moved_key IS NULL"
                ),
                3
            );
        }
    }
}

/// That a masked column changed is known; a change of nothing but excluded columns records nothing.
#[test]
fn what_is_known() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = redacted("id int PRIMARY KEY", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, 'a', '1', 'x'); UPDATE t SET gone = '2'; UPDATE t SET masked = 'b'; UPDATE t SET masked = 'b', gone = '3';
             UPDATE t SET masked = '[REDACTED]'; UPDATE t SET masked = NULL, x = 'y'; UPDATE t SET x = 'z', gone = NULL",
        );
        let fields = texts(
            &mut conn,
            "SELECT concat(op, changed_fields) AS value FROM threadline.changes WHERE op = 'update' ORDER BY id",
        );
        assert_eq!(
            fields,
            [
                "update{masked}",
                "update{masked}",
                "update{x,masked}",
                "update{x}"
            ]
        );
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.audit_transactions"
            ),
            1
        );
    }
}

/// A redacted column that is renamed, or exchanges its name, before the definition is refreshed does not leak.
#[test]
fn renamed_while_stale() {
    for granularity in GRANULARITIES {
        for rename in [
            "ALTER TABLE t RENAME masked TO m2; ALTER TABLE t RENAME gone TO g2",
            "ALTER TABLE t RENAME masked TO y; ALTER TABLE t RENAME x TO masked; ALTER TABLE t RENAME y TO x",
            "ALTER TABLE t RENAME gone TO y; ALTER TABLE t RENAME x TO gone; ALTER TABLE t RENAME y TO x",
            "ALTER TABLE t RENAME TO t2; ALTER TABLE t2 RENAME masked TO m2; ALTER TABLE t2 RENAME TO t",
            "ALTER TABLE t ALTER gone TYPE text USING gone::text, ALTER masked TYPE varchar(60)",
            "ALTER TABLE t RENAME masked TO m2; ALTER TABLE t ADD masked text DEFAULT 'SECRET'",
        ] {
            let (_database, mut conn) = redacted("id int PRIMARY KEY", granularity);
            run(
                &mut conn,
                r#"INSERT INTO t VALUES (1, 'SECRET', '"SECRET"', 'x')"#,
            );
            run(&mut conn, rename);
            let insert = text(
                &mut conn,
                "SELECT format('INSERT INTO t SELECT %s FROM (SELECT (2 + count(*))::int FROM t) AS i (id)', string_agg(CASE attnum WHEN 1 THEN 'id'
                   WHEN 3 THEN format('to_json(''SECRET''::text)::%s', atttypid::regtype) WHEN 4 THEN '''x''' ELSE '''SECRET''' END, ',' ORDER BY attnum))
                   FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0",
            )
            .unwrap();
            let update = text(
                &mut conn,
                "SELECT string_agg(format('UPDATE t SET %I = to_json(''SECRET update''::text)%s;', attname,
                   CASE atttypid WHEN 'jsonb'::regtype THEN '' ELSE ' #>> ''{}''' END), '')
                   FROM pg_attribute WHERE attrelid = 't'::regclass AND (attnum IN (2, 3) OR attnum > 4)",
            )
            .unwrap();
            let writes = format!("{insert}; {update} DELETE FROM t WHERE id = 2; {insert};");
            run(
                &mut conn,
                &format!(
                    "{writes} TRUNCATE t; {writes} SELECT threadline.refresh_audited_tables(); {insert}; {update} TRUNCATE t"
                ),
            );
            assert_eq!(
                whole_record(&mut conn).find("SECRET"),
                None,
                "{granularity}: {rename}"
            );
            assert!(count(&mut conn, "SELECT count(*) FROM threadline.audit_changes") > 10);
            let shown = text(
                &mut conn,
                "SELECT string_agg(v::text, ' ') FROM threadline.versions(NULL::t) AS v",
            )
            .unwrap();
            assert!(
                shown.contains("[REDACTED]") && !shown.contains("SECRET"),
                "{rename}: {shown}"
            );
        }
    }
}

/// A mask added later shows the placeholder, an exclusion nothing, in older versions too; one that is ended shows what was recorded.
#[test]
fn redaction_changed_later() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database("CREATE TABLE t (id int PRIMARY KEY, m text, e text)");
        super::audit(&mut conn, "t", granularity);
        let mut shown = |sql: &str| {
            run(&mut conn, sql);
            texts(
                &mut conn,
                "SELECT concat(typed_row, ' ', \"row\" - 'id', ' ', row_before - 'id') AS value FROM threadline.versions(NULL::t, 1) ORDER BY id",
            )
        };
        shown("INSERT INTO t VALUES (1, 'm', 'e'); UPDATE t SET m = 'm2', e = 'e2'");
        let redacted = shown(
            "SELECT threadline.audit_table('t', mask => '{m}', exclude => '{e}'); UPDATE t SET m = 'm3', e = 'e3'",
        );
        let placeholder = r#"(1,[REDACTED],) {"m": "[REDACTED]"}"#;
        assert_eq!(
            redacted,
            [
                format!("{placeholder} "),
                format!(r#"{placeholder} {{"m": "[REDACTED]"}}"#),
                format!(r#"{placeholder} {{"m": "[REDACTED]"}}"#)
            ]
        );
        assert_eq!(shown("SELECT threadline.audit_table('t')"), redacted);
        let clear = shown("SELECT threadline.audit_table('t', unredact => '{m,e}')");
        assert_eq!(clear[0], r#"(1,m,e) {"e": "e", "m": "m"} "#);
        assert_eq!(
            clear[2],
            r#"(1,[REDACTED],) {"m": "[REDACTED]"} {"m": "[REDACTED]"}"#
        );
    }
}

/// Rows that were there before the mask are redacted when they are changed, deleted or truncated.
#[test]
fn rows_from_before() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = redacted("id int PRIMARY KEY", granularity);
        run(
            &mut conn,
            r#"SELECT threadline.unaudit_table('t'); INSERT INTO t SELECT g, 'SECRET', '"SECRET"', 'x' FROM generate_series(1, 3) AS g;"#,
        );
        let again = format!(
            "SELECT threadline.audit_table('t', '{{masked}}', '{{gone}}', '{granularity}')"
        );
        run(
            &mut conn,
            &format!(
                "{again}; UPDATE t SET x = 'y' WHERE id = 1; DELETE FROM t WHERE id = 2; TRUNCATE t"
            ),
        );
        assert_eq!(whole_record(&mut conn).find("SECRET"), None);
        assert_eq!(
            count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
            4
        );
    }
}

/// What is redacted today is shown under none of its former names, not even where its name was that of a dropped column once.
#[test]
fn former_names() {
    for redaction in ["mask", "exclude"] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text); SELECT threadline.audit_table('t');
             INSERT INTO t VALUES (1, 'secret 1', 'b', 'c'); UPDATE t SET a = 'secret 2';
             ALTER TABLE t DROP b; SELECT threadline.refresh_audited_tables(); UPDATE t SET a = 'secret 3';
             ALTER TABLE t RENAME a TO b; SELECT threadline.refresh_audited_tables(); UPDATE t SET b = 'secret 4', c = 'd';
             SELECT threadline.audit_table('t', {redaction} => '{{b}}')"
        ));
        // An excluded column is an error where it is read.
        let columns = if redaction == "mask" { "*" } else { "id, c" };
        let as_of = format!(
            "(SELECT {columns} FROM threadline_internal.\"as_of t\"(NULL::t, now() - interval '1 us'))"
        );
        for reading in [
            "threadline.timeline()",
            "threadline.timeline_export()",
            &as_of,
        ] {
            let shown = text(
                &mut conn,
                &format!("SELECT string_agg(r::text, ' ') FROM {reading} AS r"),
            );
            assert!(
                shown
                    .as_ref()
                    .is_some_and(|shown| !shown.contains("secret")),
                "{reading}: {shown:?}"
            );
        }
        let versions = "SELECT string_agg(concat(diff, \"row\", row_before), ' ') FROM threadline.versions(NULL::t)";
        let versions = text(&mut conn, versions).unwrap();
        assert!(
            versions.contains(r#""column": "c""#) && !versions.contains("secret"),
            "{versions}"
        );
    }
}
