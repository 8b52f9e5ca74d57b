//! Tables that are restored, or made anew: redaction was once lost with the old one.

use diesel::prelude::*;
use diesel_migrations::MigrationHarness;
use std::process::Command;
use threadline_test_support::{Database, pg_bin};

use super::property::restored;
use super::{REFRESH, assert_secret, images};
use crate::common::{database, error, run, text};
use crate::restores::{dump, restore};

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
    run(
        &mut conn,
        &format!("{REFRESH}; ALTER TABLE users DROP COLUMN legacy; {REFRESH}"),
    );
    let second = restored(&first);
    let oid = |conn: &mut PgConnection| text(conn, "SELECT 'users'::regclass::oid");
    let mut copy = second.connect();
    assert_eq!(
        oid(&mut conn),
        oid(&mut copy),
        "the attack needs the same OID"
    );
    for begin in ["SELECT", REFRESH] {
        run(
            &mut copy,
            &format!(
                "{begin}; DELETE FROM users; INSERT INTO users VALUES (3, 'Carol', 'secret-3'); UPDATE users SET name = 'Dan', password_hash = 'secret-4'"
            ),
        );
        assert_secret(&mut copy);
    }
    assert!(images(&mut copy).contains(r#""name": "Dan""#));
    let definition =
        "SELECT concat(excluded_columns, older_definitions) FROM threadline.audited_tables";
    assert_eq!(text(&mut copy, definition).unwrap(), "{password_hash}{}");
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
    run(
        &mut conn,
        &format!("{hint} INSERT INTO users VALUES (2, 'secret-1', 'secret-2')"),
    );
    assert_secret(&mut conn);
    run(
        &mut conn,
        "SELECT threadline.unaudit_table('users'), threadline.audit_table('users'); INSERT INTO users VALUES (3, 'secret-1', 'secret-2')",
    );
    assert_secret(&mut conn);
    assert_eq!(
        images(&mut conn)
            .matches(r#""email": "[REDACTED]""#)
            .count(),
        2
    );
}

/// A table that `pg_restore` brings back alone, with its triggers, is captured and redacted before anybody refreshes.
#[test]
fn restored_alone() {
    let (database, mut conn) = database(
        "CREATE TABLE other (id int PRIMARY KEY, a text, b text); CREATE TABLE t (id int PRIMARY KEY, gone text, a text, b text, n int); ALTER TABLE t DROP gone;
         SELECT threadline.audit_table('other'), threadline.audit_table('t', mask => '{a}', exclude => '{b}'); INSERT INTO t VALUES (1, 'secret-1', 'secret-2', 1)",
    );
    let dump = dump(&database, &["-Fc"]);
    run(&mut conn, "DROP TABLE t CASCADE");
    // With -t alone, neither the key nor the triggers are restored.
    let list = Command::new(pg_bin().join("pg_restore"))
        .arg("-l")
        .arg(&dump.0)
        .output()
        .unwrap();
    let wanted: String = String::from_utf8(list.stdout)
        .unwrap()
        .lines()
        .filter(|line| {
            [
                " TABLE public t ",
                " TABLE DATA public t ",
                " CONSTRAINT public t ",
                " TRIGGER public t ",
            ]
            .iter()
            .any(|part| line.contains(part))
        })
        .fold(String::new(), |all, line| all + line + "\n");
    assert_eq!(wanted.matches("TRIGGER").count(), 4, "{wanted}");
    let chosen = dump.0.with_extension("list");
    std::fs::write(&chosen, wanted).unwrap();
    let options = ["--exit-on-error", "-L", chosen.to_str().unwrap()];
    let restored = restore(&dump, &database, &options);
    std::fs::remove_file(&chosen).unwrap();
    restored.unwrap();
    for begin in ["SELECT", "SELECT threadline.audit_table('t')"] {
        run(
            &mut conn,
            &format!(
                "{begin}; UPDATE t SET a = 'secret-3', b = 'secret-4', n = n + 1; INSERT INTO t VALUES ((SELECT max(id) + 1 FROM t), 'secret-5', 'secret-6', 0)"
            ),
        );
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
    let oid = text(
        &mut restored(&database).connect(),
        "SELECT 't'::regclass::oid",
    )
    .unwrap();
    run(
        &mut conn,
        &format!(
            "UPDATE threadline.audited_tables SET relation = {oid}::oid, definition = jsonb_set(definition, '{{oid}}', '{oid}') WHERE table_name = 'dropped'"
        ),
    );
    let copy = restored(&database);
    let mut conn = copy.connect();
    let same = "SELECT count(*) FROM threadline.audited_tables WHERE relation = 't'::regclass";
    assert_eq!(
        text(&mut conn, same).unwrap(),
        "2",
        "the case needs the same OID"
    );
    run(
        &mut conn,
        &format!(
            "SELECT threadline.audit_table('t'); {REFRESH}; INSERT INTO t VALUES (1, 'secret-1')"
        ),
    );
    assert_secret(&mut conn);
    assert_eq!(text(&mut conn, same).unwrap(), "1");
    assert!(images(&mut conn).contains("[REDACTED]"));
    assert!(
        error(&mut conn, "SELECT threadline.audit_table('dropped')").contains("does not exist")
    );
}
