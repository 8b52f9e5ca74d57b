//! A dump of the whole database.

use threadline_test_support::Database;

use super::{
    WRITES, assert_no_secret, assert_past, burn, dump, findings, moment, recorded, restore,
    run_dump, source,
};
use crate::common::{count, run, text};

/// What a whole copy must be, before and after the refresh.
#[track_caller]
pub(super) fn assert_goes_on(copy: &Database, before: &str) {
    let mut conn = copy.connect();
    let conn = &mut conn;
    assert_eq!(recorded(conn), before);
    assert!(before.contains("dropped insert 1"));
    assert_past(conn);
    let found = findings(conn);
    for table in ["a", "b", "p"] {
        assert!(
            found.contains(&format!("warning definition_stale {table}")),
            "{found:?}"
        );
    }
    assert_eq!(
        found.iter().find(|found| found.starts_with("error")),
        None,
        "{found:?}"
    );
    run(conn, WRITES);
    assert_past(conn);
    moment(conn);
    run(conn, WRITES);
    run(conn, "SELECT threadline.refresh_audited_tables()");
    assert_past(conn);
    moment(conn);
    run(conn, WRITES);
    assert_past(conn);
    run(conn, "SELECT threadline.unaudit_table('dropped')");
    assert_eq!(findings(conn), [""; 0]);
    let after = recorded(conn);
    assert!(after.starts_with(before));
    assert_eq!(after.lines().count(), before.lines().count() + 3 * 6);
    assert_no_secret(conn);
    assert_eq!(
        count(conn, "threadline.audited_tables WHERE gap IS NOT NULL"),
        0
    );
    assert_eq!(
        text(conn, "SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM threadline.coverage WHERE state = 'exempt'").as_deref(),
        Some("excused moments")
    );
}

/// A restored database goes on, however it was dumped and restored, and whatever OIDs its tables get.
#[test]
fn dumped_and_restored() {
    let (database, mut conn) = source();
    let before = recorded(&mut conn);
    let custom = dump(&database, &["-Fc"]);
    let plain = dump(&database, &[]);
    for (burned, way) in ["", "-j2", "--single-transaction", "psql"]
        .into_iter()
        .enumerate()
    {
        let copy = Database::elsewhere();
        burn(&mut copy.connect(), burned * 3);
        match way {
            "psql" => run_dump(&plain, &copy),
            "" => restore(&custom, &copy, &["--exit-on-error"]),
            way => restore(&custom, &copy, &["--exit-on-error", way]),
        }
        .unwrap();
        assert_goes_on(&copy, &before);
    }
}

/// What became of a table before the dump, and no refresh has followed, is followed in the copy.
#[test]
fn drift_before_the_dump() {
    let (database, mut conn) = source();
    run(
        &mut conn,
        "ALTER TABLE a ADD extra int DEFAULT 7; ALTER TABLE b RENAME v TO w; ALTER TABLE b RENAME w TO v; ALTER TABLE b ADD w text",
    );
    run(&mut conn, WRITES);
    moment(&mut conn);
    let before = recorded(&mut conn);
    let copy = Database::elsewhere();
    restore(&dump(&database, &["-Fc"]), &copy, &["--exit-on-error"]).unwrap();
    let mut conn = copy.connect();
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    assert_eq!(recorded(&mut conn), before);
    assert_past(&mut conn);
    run(&mut conn, WRITES);
    assert_past(&mut conn);
    assert_no_secret(&mut conn);
}

/// A table that was exempt and dropped does not make the table exempt that has its OID in the copy.
#[test]
fn a_dropped_exempt_table() {
    let (database, mut conn) = source();
    run(&mut conn, "DROP TABLE excused");
    let oid = text(&mut conn, "SELECT relation::oid FROM threadline.exempt_tables AS e WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = e.relation)").unwrap();
    let copy = Database::elsewhere();
    restore(&dump(&database, &["-Fc"]), &copy, &["--exit-on-error"]).unwrap();
    let mut conn = copy.connect();
    run(
        &mut conn,
        &format!(
            "CREATE TABLE other (id int); UPDATE threadline.exempt_tables SET relation = 'other'::regclass WHERE relation = {oid}::regclass"
        ),
    );
    assert_eq!(
        text(
            &mut conn,
            "SELECT state FROM threadline.coverage WHERE table_name = 'other'"
        )
        .as_deref(),
        Some("uncovered")
    );
    run(&mut conn, "SELECT threadline.audit_table('other')");
}

/// The schema and then the data is the whole, where triggers are disabled while the data is loaded.
#[test]
fn schema_and_then_data() {
    let (database, mut conn) = source();
    let before = recorded(&mut conn);
    let whole = dump(&database, &["-Fc"]);
    let copy = Database::elsewhere();
    restore(&whole, &copy, &["--exit-on-error", "--schema-only"]).unwrap();
    restore(
        &whole,
        &copy,
        &["--exit-on-error", "--data-only", "--disable-triggers"],
    )
    .unwrap();
    let mut conn = copy.connect();
    assert_eq!(recorded(&mut conn), before);
    assert_past(&mut conn);
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    assert_past(&mut conn);
    run(&mut conn, WRITES);
    assert_past(&mut conn);
    assert_eq!(
        count(&mut conn, "threadline.audited_tables WHERE gap IS NOT NULL"),
        0
    );
    assert_no_secret(&mut conn);
}

/// Restored again and again, a table keeps apart the columns that it has, those that it had, and those that were converted.
#[test]
fn restored_twice_after_columns_were_dropped() {
    let (mut database, mut conn) = super::installed();
    run(
        &mut conn,
        "CREATE TABLE t (id int PRIMARY KEY, gone text, n int, v int, w text); SELECT threadline.audit_table('t');
         INSERT INTO t VALUES (1, 'text', 2, 3, 'w')",
    );
    let at = text(&mut conn, "SELECT clock_timestamp()").unwrap();
    run(
        &mut conn,
        "ALTER TABLE t DROP gone; SELECT threadline.refresh_audited_tables(); UPDATE t SET n = 4, v = 5, w = 'x';
         ALTER TABLE t ADD gone int, ALTER w TYPE text USING w || '!'; SELECT threadline.refresh_audited_tables();
         BEGIN; ALTER TABLE t ALTER v TYPE text USING '#' || v; SELECT threadline.refresh_audited_tables(); COMMIT;
         SELECT threadline.declare_conversion('t', 'v', $$'#' || v$$); UPDATE t SET n = 6, v = '7', w = 'y', gone = 8",
    );
    for restored in 0..3 {
        let past = format!("threadline_internal.\"as_of public.t\"(NULL::t, '{at}')");
        let row = format!("SELECT concat_ws(' ', id, n, v, coalesce(gone, 0)) FROM {past}");
        assert_eq!(text(&mut conn, &row).unwrap(), "1 2 #3 0", "{restored}");
        let message = crate::common::error(&mut conn, &format!("SELECT w FROM {past}"));
        assert!(
            message.starts_with("column w of public.t has no value before "),
            "{restored}: {message}"
        );
        let copy = Database::elsewhere();
        restore(&dump(&database, &["-Fc"]), &copy, &["--exit-on-error"]).unwrap();
        database = copy;
        conn = database.connect();
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    }
}
