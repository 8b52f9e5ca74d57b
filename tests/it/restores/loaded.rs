//! Data that is loaded by itself.

use threadline_test_support::Database;

use super::{
    AUDITED, TABLES, WRITES, assert_no_secret, assert_past, burn, dump, findings, installed,
    moment, recorded, restore, source,
};
use crate::common::{count, error, run, text};

/// Each change is of the table whose values it has.
fn assert_attributed(recorded: &str) {
    for line in recorded.lines() {
        let table = line.split(' ').next().unwrap();
        assert!(
            ["a", "b", "p"].into_iter().all(|other| other == table
                || !line.contains(&format!("old {other}"))
                    && !line.contains(&format!("new {other}"))),
            "{line}"
        );
    }
}

/// Where the data is loaded while the triggers are there, and is recorded as inserts, nothing is read until the history has
/// begun anew. A table that is loaded before the audit log is not recorded.
#[test]
fn while_the_triggers_are_there() {
    let (database, mut conn) = source();
    run(
        &mut conn,
        "CREATE SCHEMA zoo; CREATE TABLE zoo.z (id int PRIMARY KEY, v text); INSERT INTO zoo.z VALUES (1, 'old'), (2, 'old');
         SELECT threadline.audit_table('zoo.z'); UPDATE zoo.z SET v = 'new' WHERE id = 1",
    );
    moment(&mut conn);
    run(&mut conn, "UPDATE zoo.z SET v = 'newer' WHERE id = 1");
    let whole = dump(&database, &["-Fc"]);
    for burned in [0, 5] {
        let copy = Database::elsewhere();
        let mut conn = copy.connect();
        burn(&mut conn, burned);
        restore(&whole, &copy, &["--exit-on-error", "--schema-only"]).unwrap();
        restore(&whole, &copy, &["--exit-on-error", "--data-only"]).unwrap();
        assert_past(&mut conn);
        let at = text(&mut conn, "SELECT max(at) FROM moments").unwrap();
        let as_of = format!(
            "SELECT string_agg(concat(id, v), ' ' ORDER BY id) FROM threadline.as_of(NULL::zoo.z, '{at}')"
        );
        assert!(error(&mut conn, &as_of).contains("loaded while its capture triggers were there"));
        assert!(findings(&mut conn).contains(&"error loading_recorded z".to_owned()));
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
        assert!(error(&mut conn, &as_of).contains("its history begins at"));
        assert_past(&mut conn);
        let now = text(&mut conn, "SELECT clock_timestamp()").unwrap();
        run(&mut conn, "DELETE FROM zoo.z");
        assert_eq!(
            text(&mut conn, &as_of.replace(&at, &now)).as_deref(),
            Some("1newer 2old")
        );
    }
}

/// Data that is loaded into a database with an audit log of its own leaves the changes of each table with that table,
/// whatever the order in which the tables were audited; the other log is kept as that of tables that are gone.
#[test]
fn into_an_audit_log_in_use() {
    let (database, mut conn) = source();
    let data = dump(&database, &["-Fc", "--data-only"]);
    let before = recorded(&mut conn);
    for options in [&["--data-only"][..], &["--data-only", "--disable-triggers"]] {
        let (target, mut conn) = installed();
        run(&mut conn, &TABLES[..TABLES.find("INSERT INTO a").unwrap()]);
        run(
            &mut conn,
            "SELECT threadline.audit_table('p'), threadline.audit_table('b'); SELECT threadline.audit_table('dropped'), threadline.audit_table('a', mask => '{secret}')",
        );
        restore(&data, &target, options).unwrap_err();
        let found = findings(&mut conn);
        for table in ["a", "b", "p"] {
            assert!(
                found.contains(&format!("error audited_twice {table}")),
                "{found:?}"
            );
        }
        let after = recorded(&mut conn);
        assert_attributed(&after);
        assert!(after.starts_with(&before), "{after}");
        run(&mut conn, "DELETE FROM moments");
        if options.len() > 1 {
            // What is loaded past the triggers is a gap.
            let at = text(&mut conn, "SELECT clock_timestamp()").unwrap();
            assert!(
                error(
                    &mut conn,
                    &format!("SELECT * FROM threadline.as_of(NULL::a, '{at}')")
                )
                .contains("switched off and on")
            );
        } else {
            moment(&mut conn);
            run(&mut conn, WRITES);
            assert_past(&mut conn);
        }
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
        moment(&mut conn);
        run(&mut conn, WRITES);
        assert_past(&mut conn);
        assert_attributed(&recorded(&mut conn));
        assert_no_secret(&mut conn);
        let found = findings(&mut conn);
        assert!(
            !found.iter().any(|found| found.contains("audited_twice")),
            "{found:?}"
        );
        // The next table gets an id of its own.
        run(
            &mut conn,
            "CREATE TABLE another (id int PRIMARY KEY); SELECT threadline.audit_table('another')",
        );
    }
}

/// Where only a part of a foreign log arrives, health says so.
#[test]
fn changes_of_no_table() {
    let (database, _conn) = source();
    let changes = dump(
        &database,
        &["-Fc", "--data-only", "-t", "threadline.audit_changes*"],
    );
    let (target, mut conn) = installed();
    run(&mut conn, TABLES);
    run(&mut conn, AUDITED);
    restore(&changes, &target, &["--exit-on-error"]).unwrap();
    assert!(findings(&mut conn).contains(&"error changes_unknown audit_changes".to_owned()));
    assert_eq!(
        count(&mut conn, "threadline.changes WHERE table_name IS NOT NULL"),
        0
    );
}

/// A schema without the audit log records nothing and fails no write, until its tables are audited anew.
#[test]
fn schema_alone() {
    let (database, _conn) = source();
    let copy = Database::elsewhere();
    restore(
        &dump(&database, &["-Fc"]),
        &copy,
        &["--exit-on-error", "--schema-only"],
    )
    .unwrap();
    let mut conn = copy.connect();
    run(
        &mut conn,
        "INSERT INTO a VALUES (1, 'SECRET', 'x'), (2, 'SECRET', 'y')",
    );
    assert!(findings(&mut conn).contains(&"warning uncovered a".to_owned()));
    run(
        &mut conn,
        "INSERT INTO threadline_internal.locks VALUES ('definitions'), ('purge'), ('retention')",
    );
    run(
        &mut conn,
        "SELECT threadline.audit_table('p'), threadline.audit_table('b'), threadline.audit_table('a', mask => '{secret}')",
    );
    moment(&mut conn);
    run(
        &mut conn,
        "UPDATE a SET v = 'z'; INSERT INTO b VALUES (1, 'new b')",
    );
    assert_past(&mut conn);
    assert_attributed(&recorded(&mut conn));
    assert_no_secret(&mut conn);
}
