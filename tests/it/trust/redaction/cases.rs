//! The ways in which redaction was once lost.

use diesel::prelude::*;
use diesel_migrations::MigrationHarness;
use std::process::Command;
use threadline::{Error, TableSpec};
use threadline_test_support::{Database, pg_bin};

use super::property::{found, restored};
use crate::common::{count, database, error, run, text};

const REFRESH: &str = "SELECT threadline.refresh_audited_tables()";

/// What was recorded of a table, the newest last.
#[track_caller]
fn images(conn: &mut PgConnection) -> String {
    let images = "SELECT string_agg(concat_ws(' ', op, data_after, changed_from), E'\n' ORDER BY id) FROM threadline.audit_changes";
    text(conn, images).unwrap_or_default()
}

#[track_caller]
fn assert_secret(conn: &mut PgConnection) {
    let leaks = found(conn, "secret-|7365637265742d|16180339");
    assert_eq!(leaks, []);
}

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
        for (granularity, exclude) in [("row", "{}"), ("statement", "{}"), ("row", "{gone}"), ("statement", "{gone}")] {
            let t = format!("t_{number}_{granularity}_{}", exclude.len());
            run(
                &mut conn,
                &format!(
                    "CREATE TABLE {t} (id int PRIMARY KEY, secret text, gone text, n int);
                     SELECT threadline.audit_table('{t}', mask => '{{secret}}', exclude => '{exclude}', granularity => '{granularity}');
                     INSERT INTO {t} VALUES (1, 'secret-1', NULL, 1), (2, 'secret-1', NULL, 1); UPDATE {t} SET secret = 'secret-3' WHERE id = 1"
                ),
            );
            run(&mut conn, &format!("ALTER TABLE {t} ALTER secret TYPE {kind} USING {converted}"));
            for begin in ["SELECT".to_owned(), format!("SELECT threadline.audit_table('{t}', granularity => '{granularity}')")] {
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
            let of_table = format!("threadline.changes WHERE table_name = '{t}' AND data_after ->> 'n' = '4'");
            assert_eq!(count(&mut conn, &of_table), 4, "{kind}");
            let masked = format!("{of_table} AND data_after ->> 'secret' = '[REDACTED]'");
            assert_eq!(count(&mut conn, &masked), if kind == "worded" { 4 } else { 0 }, "{kind}");
        }
    }
}

/// A table that has by chance the OID of the one that a definition is of, in another server, has other column numbers.
#[test]
fn restored_twice() {
    let database = Database::elsewhere();
    let mut conn = database.connect();
    conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
    run(
        &mut conn,
        "CREATE TABLE users (id int PRIMARY KEY, legacy text, name text, password_hash text);
         SELECT threadline.audit_table('users', exclude => '{password_hash}'); INSERT INTO users VALUES (1, 'l', 'Ada', 'secret-1')",
    );
    let first = restored(&database);
    let mut conn = first.connect();
    run(&mut conn, &format!("{REFRESH}; ALTER TABLE users DROP COLUMN legacy; {REFRESH}"));
    let second = restored(&first);
    let oid = |conn: &mut PgConnection| text(conn, "SELECT 'users'::regclass::oid");
    let mut copy = second.connect();
    assert_eq!(oid(&mut conn), oid(&mut copy), "the attack needs the same OID");
    for begin in ["SELECT", REFRESH] {
        run(
            &mut copy,
            &format!("{begin}; DELETE FROM users; INSERT INTO users VALUES (3, 'Carol', 'secret-3'); UPDATE users SET name = 'Dan', password_hash = 'secret-4'"),
        );
        assert_secret(&mut copy);
    }
    assert!(images(&mut copy).contains(r#""name": "Dan""#));
    let definition = "SELECT concat(excluded_columns, definition -> 'renames') FROM threadline.audited_tables";
    assert_eq!(text(&mut copy, definition).unwrap(), "{password_hash}[]");
}

/// The statements in hints keep the redaction: of a table that was made anew, and of one whose capture was ended.
#[test]
fn hints() {
    const TABLE: &str = "CREATE TABLE users (id int PRIMARY KEY, email text, password_hash text)";
    let (_database, mut conn) = database(&format!(
        "{TABLE}; SELECT threadline.audit_table('users', mask => '{{email}}', exclude => '{{password_hash}}')"
    ));
    run(&mut conn, &format!("DROP TABLE users CASCADE; {TABLE}"));
    let hint = "SELECT substring(hint FROM 'SELECT .*;') FROM threadline.health WHERE \"check\" = 'table_missing' AND severity = 'error'";
    let hint = text(&mut conn, hint).unwrap();
    run(&mut conn, &format!("{hint} INSERT INTO users VALUES (2, 'secret-1', 'secret-2')"));
    assert_secret(&mut conn);
    run(&mut conn, "SELECT threadline.unaudit_table('users'), threadline.audit_table('users'); INSERT INTO users VALUES (3, 'secret-1', 'secret-2')");
    assert_secret(&mut conn);
    assert_eq!(images(&mut conn).matches(r#""email": "[REDACTED]""#).count(), 2);
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
                &format!("{begin}; UPDATE t SET secret = 'secret-2', n = n + 1; INSERT INTO t VALUES ((SELECT max(id) + 1 FROM t), 'secret-3', 1); DELETE FROM t WHERE id <> 1"),
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
            run(&mut conn, &format!("{begin}; UPDATE t SET secret = 'secret-1', n = n + 1; UPDATE t SET secret = 'secret-2', n = n + 1"));
            assert_secret(&mut conn);
        }
        assert!(images(&mut conn).contains(r#""n": 5"#));
    }
}

/// A table that pg_restore brings back alone, with its triggers, is captured and redacted before anybody refreshes.
#[test]
fn restored_alone() {
    let (database, mut conn) = database(
        "CREATE TABLE other (id int PRIMARY KEY, a text, b text); CREATE TABLE t (id int PRIMARY KEY, gone text, a text, b text, n int); ALTER TABLE t DROP gone;
         SELECT threadline.audit_table('other'), threadline.audit_table('t', mask => '{a}', exclude => '{b}'); INSERT INTO t VALUES (1, 'secret-1', 'secret-2', 1)",
    );
    let file = std::env::temp_dir().join(format!("{}.alone", database.name()));
    let run_program = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(pg_bin().join(program));
        let output = command.args(arguments).arg(&file).envs(database.pg_env()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run_program("pg_dump", &["-Fc", "-f"]);
    run(&mut conn, "DROP TABLE t CASCADE");
    // With -t alone, neither the key nor the triggers are restored.
    let list = Command::new(pg_bin().join("pg_restore")).arg("-l").arg(&file).output().unwrap();
    let wanted: String = String::from_utf8(list.stdout).unwrap().lines()
        .filter(|line| [" TABLE public t ", " TABLE DATA public t ", " CONSTRAINT public t ", " TRIGGER public t "].iter().any(|part| line.contains(part)))
        .fold(String::new(), |all, line| all + line + "\n");
    assert_eq!(wanted.matches("TRIGGER").count(), 4, "{wanted}");
    let chosen = file.with_extension("list");
    std::fs::write(&chosen, wanted).unwrap();
    run_program("pg_restore", &["--exit-on-error", "-d", database.name(), "-L", chosen.to_str().unwrap()]);
    for path in [&file, &chosen] {
        std::fs::remove_file(path).unwrap();
    }
    for begin in ["SELECT", "SELECT threadline.audit_table('t')"] {
        run(&mut conn, &format!("{begin}; UPDATE t SET a = 'secret-3', b = 'secret-4', n = n + 1; INSERT INTO t VALUES ((SELECT max(id) + 1 FROM t), 'secret-5', 'secret-6', 0)"));
        assert_secret(&mut conn);
    }
    assert_eq!(
        images(&mut conn),
        r#"insert {"a": "[REDACTED]", "n": 1, "id": 1}
update {"a": "[REDACTED]", "n": 2, "id": 1} {"a": "[REDACTED]", "n": 1}
insert {"a": "[REDACTED]", "n": 0, "id": 2}
update {"a": "[REDACTED]", "n": 3, "id": 1} {"n": 2}
update {"a": "[REDACTED]", "n": 1, "id": 2} {"a": "[REDACTED]", "n": 0}
insert {"a": "[REDACTED]", "n": 0, "id": 3}"#
    );
}

/// Specifications of one table add up; those that contradict each other are refused, before anything is done.
#[test]
fn two_specifications() {
    let (_database, mut conn) = database("CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text)");
    let spec = || TableSpec::named("t");
    let redacted = "SELECT concat(masked_columns, excluded_columns) FROM threadline.audited_tables";
    for _ in 0..2 {
        threadline::capture::install(&mut conn, &[spec().mask(["a"]).exclude(["b"]), spec().mask(["c"]), spec()]).unwrap();
        assert_eq!(text(&mut conn, redacted).unwrap(), "{a,c}{b}");
    }
    for specs in [
        [spec().unredact(["a"]), spec().mask(["a"])],
        [spec().exclude(["b"]), spec().unredact(["b"]).mask(["b"])],
        [spec(), spec().unredact(["b"]).exclude(["b"])],
    ] {
        let refused = threadline::capture::install(&mut conn, &specs);
        assert!(matches!(&refused, Err(Error::Refused { message, .. }) if message.contains("is redacted and unredacted")), "{refused:?}");
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
    run(&mut conn, "SELECT threadline.audit_table('t', unredact => '{id}'), threadline.audit_table('t', mask => '{a}', unredact => '{a}')");
    assert_eq!(text(&mut conn, actions), None);
    run(&mut conn, "SELECT threadline.audit_table('t', unredact => '{a}'), threadline.audit_table('t', mask => '{b}', unredact => '{b}')");
    assert_eq!(text(&mut conn, actions).unwrap(), r#"public.t["a"]system public.t["b"]system"#);
    run(&mut conn, "INSERT INTO t VALUES (1, 'plain', 'secret-1')");
    assert_secret(&mut conn);
    assert!(images(&mut conn).contains(r#"{"a": "plain", "b": "[REDACTED]", "id": 1}"#));
    // That it is asked for again and again weakens nothing more.
    run(&mut conn, "SELECT threadline.audit_table('t', unredact => '{a}')");
    assert_eq!(text(&mut conn, alternates), None);
    run(&mut conn, "SELECT threadline.audit_table('t', mask => '{a}'), threadline.audit_table('t', unredact => '{a}')");
    assert_eq!(text(&mut conn, alternates).unwrap(), "the redaction of column a was weakened 2 times, and asked for again");
    assert_eq!(text(&mut conn, actions).unwrap().matches(r#"["a"]"#).count(), 2);
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
        run(&mut conn, "UPDATE t SET n = 2; UPDATE t SET n = 3, huge = huge || 'x'; DELETE FROM t");
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

/// A table that takes the name of one that was renamed takes over its redaction, even if a refresh has seen the renaming.
#[test]
fn name_taken_over() {
    let (_database, mut conn) = database(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, secret text); SELECT threadline.audit_table('t', mask => '{{secret}}');
         ALTER TABLE t RENAME TO old; {REFRESH}; CREATE TABLE t (LIKE old INCLUDING ALL); SELECT threadline.audit_table('t');
         INSERT INTO t VALUES (1, 'secret-1')"
    ));
    assert_secret(&mut conn);
    assert!(images(&mut conn).contains("[REDACTED]"));
}

/// A dump says of an audited table that is gone only the OID, which another table has where the dump is restored: it is restored
/// all the same, and the other table is what it was.
#[test]
fn dropped_before_the_dump() {
    let database = Database::elsewhere();
    let mut conn = database.connect();
    conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
    run(
        &mut conn,
        "CREATE TABLE t (id int PRIMARY KEY, secret text); SELECT threadline.audit_table('t', mask => '{secret}'); CREATE TABLE dropped (id int PRIMARY KEY);
         SELECT threadline.audit_table('dropped'); DROP TABLE dropped CASCADE",
    );
    let oid = text(&mut restored(&database).connect(), "SELECT 't'::regclass::oid").unwrap();
    run(&mut conn, &format!("UPDATE threadline.audited_tables SET relation = {oid}::oid, definition = jsonb_set(definition, '{{oid}}', '{oid}') WHERE table_name = 'dropped'"));
    let copy = restored(&database);
    let mut conn = copy.connect();
    let same = "SELECT count(*) FROM threadline.audited_tables WHERE relation = 't'::regclass";
    assert_eq!(text(&mut conn, same).unwrap(), "2", "the case needs the same OID");
    run(&mut conn, &format!("SELECT threadline.audit_table('t'); {REFRESH}; INSERT INTO t VALUES (1, 'secret-1')"));
    assert_secret(&mut conn);
    assert_eq!(text(&mut conn, same).unwrap(), "1");
    assert!(images(&mut conn).contains("[REDACTED]"));
    assert!(error(&mut conn, "SELECT threadline.audit_table('dropped')").contains("does not exist"));
}
