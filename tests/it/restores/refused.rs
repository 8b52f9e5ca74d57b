//! Tables whose record says less than what happened.

use super::findings;
use crate::common::{database, error, run, text};

/// Changes at times to come, as a clock that was ahead records them, keep the past from being read until the refresh.
#[test]
fn clock_ahead() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, v text); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 'one'); UPDATE t SET v = 'ahead';
         UPDATE threadline.audit_changes SET captured_at = now() + interval '10 years' WHERE op = 'update'; UPDATE t SET v = 'right'",
    );
    let at = text(&mut conn, "SELECT clock_timestamp()").unwrap();
    let queries = [
        format!("SELECT v FROM threadline.as_of(NULL::t, '{at}')"),
        format!("SELECT image ->> 'v' FROM threadline.row_as_of(NULL::t, '{at}', 1)"),
    ];
    for query in &queries {
        assert!(error(&mut conn, query).contains("a clock was ahead"));
    }
    assert!(findings(&mut conn).contains(&"error clock_was_ahead t".to_owned()));
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    assert!(error(&mut conn, &queries[0]).contains("its history begins at"));
    assert!(
        !findings(&mut conn)
            .iter()
            .any(|found| found.contains("clock"))
    );
    let now = text(&mut conn, "SELECT clock_timestamp()").unwrap();
    run(&mut conn, "UPDATE t SET v = 'later'");
    for query in &queries {
        let now = text(&mut conn, &query.replace(&at, &now));
        assert_eq!(now.as_deref(), Some("right"));
    }
}

/// A crash empties an unlogged table, so its past is not read while it is one.
#[test]
fn unlogged() {
    let (_database, mut conn) = database(
        "CREATE UNLOGGED TABLE t (id int PRIMARY KEY, v text); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 'one')",
    );
    let at = text(&mut conn, "SELECT clock_timestamp()").unwrap();
    for query in [
        format!("SELECT * FROM threadline.as_of(NULL::t, '{at}')"),
        format!("SELECT * FROM threadline.row_as_of(NULL::t, '{at}', 1)"),
    ] {
        assert!(error(&mut conn, &query).contains("it is unlogged"));
    }
    assert_eq!(findings(&mut conn), ["warning unreadable t"]);
    run(
        &mut conn,
        "ALTER TABLE t SET LOGGED; SELECT threadline.refresh_audited_tables()",
    );
    assert_eq!(findings(&mut conn), [""; 0]);
}
