//! Copies of a part of a database, and of a database on its own server.

use std::process::Command;

use diesel::prelude::*;
use threadline_test_support::{Database, pg_bin};

use super::{
    WRITES, assert_no_secret, assert_past, dump, findings, moment, recorded, restore, source,
};
use crate::common::{error, run, text};

/// A database that was made from another as its template is another one: its log goes on by itself.
#[test]
fn database_from_a_template() {
    let (database, mut conn) = source();
    let before = recorded(&mut conn);
    drop(conn);
    let mut postgres =
        PgConnection::establish(&database.url().replace(database.name(), "postgres")).unwrap();
    run(
        &mut postgres,
        &format!("CREATE DATABASE copied TEMPLATE {}", database.name()),
    );
    let mut conn =
        PgConnection::establish(&database.url().replace(database.name(), "copied")).unwrap();
    run(&mut conn, WRITES);
    moment(&mut conn);
    assert!(findings(&mut conn).contains(&"warning definition_stale a".to_owned()));
    run(&mut conn, WRITES);
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    run(&mut conn, WRITES);
    assert_past(&mut conn);
    assert!(recorded(&mut conn).starts_with(&before));
    assert_no_secret(&mut conn);
    assert_past(&mut database.connect());
}

/// The schema of an application is restored without the audit log when the capture triggers are left out of the list.
#[test]
fn without_the_audit_log() {
    let (database, _conn) = source();
    let dumped = dump(&database, &["-Fc", "--schema=public"]);
    let copy = Database::elsewhere();
    run(&mut copy.connect(), "DROP SCHEMA public");
    let refused = restore(&dumped, &copy, &["--exit-on-error"]).unwrap_err();
    assert!(refused.contains("threadline_internal"), "{refused}");
    let copy = Database::elsewhere();
    run(&mut copy.connect(), "DROP SCHEMA public");
    let list = Command::new(pg_bin().join("pg_restore"))
        .arg("-l")
        .arg(&dumped.0)
        .output()
        .unwrap();
    let kept: Vec<_> = String::from_utf8(list.stdout)
        .unwrap()
        .lines()
        .filter(|line| !line.contains("!threadline_"))
        .map(str::to_owned)
        .collect();
    let file = dumped.0.with_extension("list");
    std::fs::write(&file, kept.join("\n")).unwrap();
    restore(
        &dumped,
        &copy,
        &["--exit-on-error", "-L", file.to_str().unwrap()],
    )
    .unwrap();
    std::fs::remove_file(file).unwrap();
    run(&mut copy.connect(), WRITES);
}

/// A table that is restored from a dump, in place of the one that is there, begins its history anew, under its own name.
#[test]
fn single_table() {
    let (database, mut conn) = source();
    let dumped = dump(&database, &["-Fc", "-t", "public.b"]);
    run(&mut conn, WRITES);
    let at = text(&mut conn, "SELECT clock_timestamp()").unwrap();
    let before = recorded(&mut conn);
    restore(&dumped, &database, &["--exit-on-error", "--clean"]).unwrap();
    let as_of = format!("SELECT * FROM threadline.as_of(NULL::b, '{at}')");
    error(&mut conn, &as_of);
    assert!(findings(&mut conn).contains(&"error table_missing b".to_owned()));
    run(
        &mut conn,
        "UPDATE b SET v = v || '?'; SELECT threadline.audit_table('b')",
    );
    let refused = error(&mut conn, &as_of);
    assert!(refused.contains("the table was made anew"), "{refused}");
    run(&mut conn, "DELETE FROM moments");
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    moment(&mut conn);
    run(&mut conn, WRITES);
    assert_past(&mut conn);
    assert!(recorded(&mut conn).starts_with(&before));
    // The rows of one table alone, into the table that is there, are writes like any other.
    let rows = dump(&database, &["-Fc", "--data-only", "-t", "public.b"]);
    moment(&mut conn);
    run(&mut conn, "DELETE FROM b");
    moment(&mut conn);
    restore(&rows, &database, &["--exit-on-error", "--data-only"]).unwrap();
    moment(&mut conn);
    run(&mut conn, WRITES);
    assert_past(&mut conn);
}
