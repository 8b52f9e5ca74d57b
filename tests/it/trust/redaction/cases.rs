//! The ways in which redaction was once lost.

use threadline::{Error, TableSpec};

use super::{REFRESH, assert_secret, images};
use crate::common::{count, database, run, text};

/// A masked column that is of another type is not recorded, before a refresh and after; and no write fails.
#[test]
fn retyped() {
    let (_database, mut conn) = database(
        "CREATE TYPE shade AS ENUM ('secret-2'); CREATE DOMAIN worded AS text; CREATE DOMAIN checked AS text CHECK (VALUE <> '[REDACTED]')",
    );
    let kinds = [
        ("jsonb", "to_jsonb(secret)", "'\"secret-2\"'"),
        ("varchar(9)", "left(secret, 9)", "'secret-2'"),
        ("bytea", "convert_to(secret, 'UTF8')", "'secret-2'"),
        ("integer", "16180339", "161803391"),
        ("text[]", "ARRAY[secret]", "'{secret-2}'"),
        ("shade", "'secret-2'::shade", "'secret-2'"),
        ("worded", "secret", "'secret-2'"),
        ("checked", "secret", "'secret-2'"),
    ];
    for (number, (kind, converted, value)) in kinds.into_iter().enumerate() {
        for (granularity, exclude) in [
            ("row", "{}"),
            ("statement", "{}"),
            ("row", "{gone}"),
            ("statement", "{gone}"),
        ] {
            let t = format!("t_{number}_{granularity}_{}", exclude.len());
            run(
                &mut conn,
                &format!(
                    "CREATE TABLE {t} (id int PRIMARY KEY, secret text, gone text, n int);
                     SELECT threadline.audit_table('{t}', mask => '{{secret}}', exclude => '{exclude}', granularity => '{granularity}');
                     INSERT INTO {t} VALUES (1, 'secret-1', NULL, 1), (2, 'secret-1', NULL, 1); UPDATE {t} SET secret = 'secret-3' WHERE id = 1"
                ),
            );
            run(
                &mut conn,
                &format!("ALTER TABLE {t} ALTER secret TYPE {kind} USING {converted}"),
            );
            for begin in [
                "SELECT".to_owned(),
                format!("SELECT threadline.audit_table('{t}', granularity => '{granularity}')"),
            ] {
                run(
                    &mut conn,
                    &format!(
                        "{begin}; INSERT INTO {t} VALUES (3, {value}), (4, {value}); INSERT INTO {t} VALUES (5, {value}); UPDATE {t} SET secret = NULL, n = 2;
                         UPDATE {t} SET secret = {value}, n = 3; UPDATE {t} SET secret = {value}, n = 4 WHERE id = 3; UPDATE {t} SET id = id + 10;
                         DELETE FROM {t} WHERE id = 13; TRUNCATE {t}"
                    ),
                );
                assert_secret(&mut conn);
            }
            let of_table =
                format!("threadline.changes WHERE table_name = '{t}' AND data_after ->> 'n' = '4'");
            assert_eq!(count(&mut conn, &of_table), 4, "{kind}");
            let masked = format!("{of_table} AND data_after ->> 'secret' = '[REDACTED]'");
            assert_eq!(
                count(&mut conn, &masked),
                if kind == "worded" { 4 } else { 0 },
                "{kind}"
            );
        }
    }
}

/// A stored generated column of a redacted one is not recorded, from when it is added; the refresh says so in the definition.
#[test]
fn generated_later() {
    for (mask, exclude) in [("{secret}", "{}"), ("{}", "{secret}")] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, secret text, n int); SELECT threadline.audit_table('t', mask => '{mask}', exclude => '{exclude}');
             INSERT INTO t VALUES (1, 'secret-1', 1); ALTER TABLE t ADD loud text GENERATED ALWAYS AS (lower(secret)) STORED"
        ));
        for begin in ["SELECT", REFRESH] {
            run(
                &mut conn,
                &format!(
                    "{begin}; UPDATE t SET secret = 'secret-2', n = n + 1; INSERT INTO t VALUES ((SELECT max(id) + 1 FROM t), 'secret-3', 1); DELETE FROM t WHERE id <> 1"
                ),
            );
            assert_secret(&mut conn);
        }
        assert!(images(&mut conn).contains(r#""n": 3"#));
        let excluded = "SELECT 'loud' = ANY (excluded_columns) FROM threadline.audited_tables";
        assert_eq!(text(&mut conn, excluded).unwrap(), "true");
    }
}

/// A column that was dropped, and is there again after a refresh, is redacted as it was.
#[test]
fn dropped_and_added() {
    for (mask, exclude) in [("{secret}", "{}"), ("{}", "{secret}")] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, secret text, n int); SELECT threadline.audit_table('t', mask => '{mask}', exclude => '{exclude}');
             ALTER TABLE t DROP secret; {REFRESH}; INSERT INTO t VALUES (1, 1); ALTER TABLE t ADD secret text DEFAULT 'secret-0'"
        ));
        for begin in ["SELECT", REFRESH] {
            run(
                &mut conn,
                &format!(
                    "{begin}; UPDATE t SET secret = 'secret-1', n = n + 1; UPDATE t SET secret = 'secret-2', n = n + 1"
                ),
            );
            assert_secret(&mut conn);
        }
        assert!(images(&mut conn).contains(r#""n": 5"#));
    }
}

/// Specifications of one table add up; those that contradict each other are refused, before anything is done.
#[test]
fn two_specifications() {
    let (_database, mut conn) =
        database("CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text)");
    let spec = || TableSpec::named("t");
    let redacted = "SELECT concat(masked_columns, excluded_columns) FROM threadline.audited_tables";
    for _ in 0..2 {
        threadline::capture::install(
            &mut conn,
            &[
                spec().mask(["a"]).exclude(["b"]),
                spec().mask(["c"]),
                spec(),
            ],
        )
        .unwrap();
        assert_eq!(text(&mut conn, redacted).unwrap(), "{a,c}{b}");
    }
    for specs in [
        [spec().unredact(["a"]), spec().mask(["a"])],
        [spec().exclude(["b"]), spec().unredact(["b"]).mask(["b"])],
        [spec(), spec().unredact(["b"]).exclude(["b"])],
    ] {
        let refused = threadline::capture::install(&mut conn, &specs);
        assert!(
            matches!(&refused, Err(Error::Refused { message, .. }) if message.contains("is redacted and unredacted")),
            "{refused:?}"
        );
        assert_eq!(text(&mut conn, redacted).unwrap(), "{a,c}{b}");
    }
    // The strictest of them counts.
    threadline::capture::install(&mut conn, &[spec().mask(["a"]), spec().exclude(["a"])]).unwrap();
    assert_eq!(text(&mut conn, redacted).unwrap(), "{c}{a,b}");
}

/// To weaken a redaction is an action of its own; twice, and the health of the table says that somebody disagrees.
#[test]
fn weakened() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text); SELECT threadline.audit_table('t', mask => '{a}', exclude => '{b}')",
    );
    let actions = "SELECT string_agg(concat(meta ->> 'table', meta ->> 'columns', actor_ref ->> 'type'), ' ' ORDER BY id)
                     FROM threadline.audit_actions WHERE name = 'threadline.redaction_weakened'";
    let alternates = "SELECT string_agg(message, ' ') FROM threadline.health WHERE \"check\" = 'redaction_alternates'";
    run(
        &mut conn,
        "SELECT threadline.audit_table('t', unredact => '{id}'), threadline.audit_table('t', mask => '{a}', unredact => '{a}')",
    );
    assert_eq!(text(&mut conn, actions), None);
    run(
        &mut conn,
        "SELECT threadline.audit_table('t', unredact => '{a}'), threadline.audit_table('t', mask => '{b}', unredact => '{b}')",
    );
    assert_eq!(
        text(&mut conn, actions).unwrap(),
        r#"public.t["a"]system public.t["b"]system"#
    );
    run(&mut conn, "INSERT INTO t VALUES (1, 'plain', 'secret-1')");
    assert_secret(&mut conn);
    assert!(images(&mut conn).contains(r#"{"a": "plain", "b": "[REDACTED]", "id": 1}"#));
    // That it is asked for again and again weakens nothing more.
    run(
        &mut conn,
        "SELECT threadline.audit_table('t', unredact => '{a}')",
    );
    assert_eq!(text(&mut conn, alternates), None);
    run(
        &mut conn,
        "SELECT threadline.audit_table('t', mask => '{a}'), threadline.audit_table('t', unredact => '{a}')",
    );
    assert_eq!(
        text(&mut conn, alternates).unwrap(),
        "the redaction of column a was weakened 2 times, and asked for again"
    );
    assert_eq!(
        text(&mut conn, actions)
            .unwrap()
            .matches(r#"["a"]"#)
            .count(),
        2
    );
}

/// An excluded value of any size is not read: as JSON it would be too long.
#[test]
fn excluded_and_huge() {
    for granularity in ["row", "statement"] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, huge bytea, n int); ALTER TABLE t ALTER huge SET STORAGE EXTERNAL;
             SELECT threadline.audit_table('t', exclude => '{{huge}}', granularity => '{granularity}');
             INSERT INTO t VALUES (1, convert_to(repeat('x', 200000000), 'UTF8'), 1)"
        ));
        run(
            &mut conn,
            "UPDATE t SET n = 2; UPDATE t SET n = 3, huge = huge || 'x'; DELETE FROM t",
        );
        assert_eq!(
            images(&mut conn),
            "insert {\"n\": 1, \"id\": 1}\nupdate {\"n\": 2, \"id\": 1} {\"n\": 1}\nupdate {\"n\": 3, \"id\": 1} {\"n\": 2}\ndelete {\"n\": 3, \"id\": 1}"
        );
    }
}

/// While a definition is stale an excluded column is left out of the whole row, columns that were added are in, and no plan
/// that a session keeps fails. After a refresh the columns are listed again.
#[test]
fn stale_while_excluded() {
    for granularity in ["row", "statement"] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, gone text, n int, kind text); SELECT threadline.audit_table('t', exclude => '{{gone}}', granularity => '{granularity}')"
        ));
        let mut at = 0;
        for (number, change) in [
            "SELECT",
            "ALTER TABLE t ADD added text",
            "ALTER TABLE t RENAME gone TO away; ALTER TABLE t RENAME n TO gone; ALTER TABLE t RENAME away TO n",
            "ALTER TABLE t ALTER kind TYPE varchar(90)",
            "ALTER TABLE t ALTER kind TYPE text[] USING ARRAY[kind]",
            "ALTER TABLE t DROP kind",
            "ALTER TABLE t ADD kind int",
        ]
        .into_iter()
        .enumerate()
        {
            let secret = if number < 2 { "gone" } else { "n" };
            for begin in [change, REFRESH] {
                at += 2;
                run(
                    &mut conn,
                    &format!(
                        "{begin}; INSERT INTO t (id) VALUES ({at}), ({at} + 1); INSERT INTO t (id) VALUES (-{at});
                         UPDATE t SET id = id + 1000 WHERE id = {at}; UPDATE t SET {secret} = 'secret-1'"
                    ),
                );
                assert_secret(&mut conn);
            }
            let added = text(&mut conn, "SELECT data_after ? 'added' FROM threadline.audit_changes ORDER BY id DESC LIMIT 1").unwrap();
            assert_eq!(added, (change != "SELECT").to_string(), "{change}");
        }
        run(&mut conn, "DELETE FROM t");
        assert_secret(&mut conn);
    }
}

/// What says that a conversion is not known keeps no value: a redaction of the changes would not reach it.
#[test]
fn reasons_hold_no_values() {
    for (table, change) in [
        (
            "id int PRIMARY KEY, v text",
            "ALTER TABLE t ALTER v TYPE int USING length(v)",
        ),
        (
            "id int PRIMARY KEY, v varchar(40)",
            "ALTER TABLE t ALTER v TYPE date USING '2020-01-01'",
        ),
        (
            "id int PRIMARY KEY, v text NOT NULL UNIQUE",
            "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (v); ALTER TABLE t ALTER v TYPE int USING length(v)",
        ),
        (
            "id int UNIQUE, v text PRIMARY KEY",
            "ALTER TABLE t ALTER v TYPE int USING length(v)",
        ),
    ] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t ({table}); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 'secret-2')"
        ));
        run(&mut conn, change);
        run(&mut conn, REFRESH);
        let reasons = "SELECT concat(string_agg(gap, ' '), (SELECT string_agg(gap, ' ') FROM threadline.column_conversions)) FROM threadline.audited_tables";
        let reasons = text(&mut conn, reasons).unwrap();
        assert_ne!(reasons, "", "{change}");
        assert!(!reasons.contains("secret"), "{change}: {reasons}");
    }
}
