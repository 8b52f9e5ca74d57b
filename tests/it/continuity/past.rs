use threadline::{Error, Op, RowAsOf};

use super::*;

fn names(conn: &mut PgConnection, at: &str) -> String {
    let names = format!(
        "SELECT string_agg(name, ', ' ORDER BY id) FROM threadline.as_of(NULL::users, {at})"
    );
    text(conn, &names).unwrap_or_default()
}

fn name_of(conn: &mut PgConnection, at: chrono::DateTime<chrono::Utc>) -> String {
    match User::as_of(1, at).get_result(conn).unwrap() {
        RowAsOf::Found(user) => user.name,
        other => format!("{other:?}"),
    }
}

/// An update that is in flight while its row is recorded has a time before the snapshot, and an image after it. Nobody waits,
/// and at any time the past is what it was.
#[test]
fn update_in_flight() {
    let (database, mut conn) = database(USERS);
    let mut writer = database.connect();
    run(
        &mut writer,
        "BEGIN; UPDATE users SET name = 'new' WHERE id = 1; DELETE FROM users WHERE id = 2",
    );
    run(&mut conn, "SET lock_timeout = '50ms'");
    let done = record(&mut conn, "users");
    assert_eq!(done.recorded, 5);
    run(&mut writer, "COMMIT");

    assert_eq!(
        names(&mut conn, "clock_timestamp()"),
        "new, old 3, old 4, old 5"
    );
    let at_first = "(SELECT capture_since FROM threadline.audited_tables)";
    assert_eq!(
        names(&mut conn, at_first),
        "old 1, old 2, old 3, old 4, old 5"
    );
    let order = "SELECT string_agg(op, ' ' ORDER BY captured_at) FROM threadline.changes WHERE row_key IN ('1', '2')";
    assert_eq!(
        text(&mut conn, order).as_deref(),
        Some("update delete snapshot snapshot")
    );
    let now: chrono::DateTime<chrono::Utc> = diesel::select(threadline::settled_at())
        .get_result(&mut conn)
        .unwrap();
    assert_eq!(name_of(&mut conn, now), "new");
    assert_eq!(name_of(&mut conn, done.as_of), "old 1");
    let gone = User::as_of(2, now).get_result(&mut conn).unwrap();
    assert!(matches!(gone, RowAsOf::Deleted(_)), "{gone:?}");
}

/// A row can be brought back to its snapshot. What changed it is lost only by those who say so, though the snapshot is younger.
#[test]
fn restore() {
    let (database, mut conn) = database(USERS);
    let mut writer = database.connect();
    run(
        &mut writer,
        "BEGIN; UPDATE users SET name = 'new' WHERE id = 1",
    );
    record(&mut conn, "users");
    run(&mut writer, "COMMIT");
    run(&mut conn, "UPDATE users SET name = 'newer' WHERE id = 2");
    for (id, name) in [(1, "new"), (2, "newer")] {
        let versions: Vec<Version<User>> = User::history(id).load(&mut conn).unwrap();
        let snapshot = versions
            .iter()
            .find(|version| version.op == Op::Snapshot)
            .unwrap();
        let change = versions
            .iter()
            .find(|version| version.op == Op::Update)
            .unwrap();
        assert_eq!(change.row.name, name);
        let error = snapshot.restore().run(&mut conn).unwrap_err();
        assert!(
            matches!(error, Error::LaterChanges { newest_change, .. } if newest_change == change.id),
            "{error:?}"
        );
        let restored = snapshot
            .restore()
            .discard_changes_through(change.id)
            .run(&mut conn)
            .unwrap();
        assert_eq!(restored.op, Some(Op::Update));
    }
    assert_eq!(
        names(&mut conn, "clock_timestamp()"),
        "old 1, old 2, old 3, old 4, old 5"
    );

    // A snapshot is no change that could be lost.
    run(
        &mut conn,
        "SELECT threadline.unaudit_table('users'), threadline.audit_table('users'); UPDATE users SET name = 'a' WHERE id = 3",
    );
    let versions: Vec<Version<User>> = User::history(3).load(&mut conn).unwrap();
    record(&mut conn, "users");
    assert_eq!(versions[0].restore().run(&mut conn).unwrap().op, None);
}
