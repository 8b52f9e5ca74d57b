//! Keys that were recorded in clear before are not mixed with hashes.

use super::{SESSIONS, hash};
use crate::common::{count, database, error, run, text};

/// The history begins anew, and says why; what was recorded before is found by the key that it has.
#[test]
fn history_begins_anew() {
    let (_database, mut conn) = database(&format!(
        "{SESSIONS}; SELECT threadline.audit_table('sessions'); INSERT INTO sessions VALUES ('plain-1'), ('plain-2')"
    ));
    let conn = &mut conn;
    let before = text(conn, "SELECT clock_timestamp()").unwrap();
    run(
        conn,
        "SELECT threadline.audit_table('sessions', hash_key => '{token}'); UPDATE sessions SET n = 1 WHERE token = 'plain-1'",
    );
    let gap = text(conn, "SELECT gap FROM threadline.audited_tables").unwrap();
    assert_eq!(
        gap,
        "key column token is recorded as a hash since then; what was recorded before has it in clear"
    );
    let refused = error(
        conn,
        &format!("SELECT * FROM threadline.as_of(NULL::sessions, '{before}')"),
    );
    assert!(refused.contains(&gap), "{refused}");
    let hashed = hash(conn, "plain-1");
    let keys =
        "SELECT string_agg(row_key, ',') FROM threadline.versions(NULL::sessions, 'plain-1')";
    assert_eq!(text(conn, keys).unwrap(), hashed);
    let timeline = "threadline.timeline('{\"row_key\": \"plain-1\"}')";
    assert_eq!(count(conn, timeline), 2);
    // Called again, it changes nothing.
    let since = text(conn, "SELECT capture_since FROM threadline.audited_tables");
    run(
        conn,
        "SELECT threadline.audit_table('sessions', hash_key => '{token}')",
    );
    assert_eq!(
        text(conn, "SELECT capture_since FROM threadline.audited_tables"),
        since
    );
}

/// A row that is held by its key in clear would be held no more.
#[test]
fn holds() {
    let (_database, mut conn) = database(&format!(
        "{SESSIONS}; SELECT threadline.audit_table('sessions'); INSERT INTO sessions VALUES ('plain-1');
         SET threadline.actor_ref = '{{\"type\": \"user\", \"id\": \"1\"}}'; SELECT threadline.place_hold('why', 'sessions', 'plain-1')"
    ));
    let refused = error(
        &mut conn,
        "SELECT threadline.audit_table('sessions', hash_key => '{token}')",
    );
    assert!(
        refused.contains("rows of it are under legal hold"),
        "{refused}"
    );
}
