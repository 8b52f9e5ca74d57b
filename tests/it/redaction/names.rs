//! Columns are named as they are now, and found under the names that they had.

use threadline::redact;

use super::{committed, done, each, images, stored};
use crate::common::{run, text};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, a text, b text, n int NOT NULL DEFAULT 0);
    SELECT threadline.audit_table('t');
    INSERT INTO t VALUES (1, 'secret', 'kept'), (2, 'other', 'kept'); UPDATE t SET a = a || ' 2', n = 1";

/// What was done to the table, and the column that `a` has become.
const RENAMED: [(&str, &str); 6] = [
    ("ALTER TABLE t RENAME a TO c", "c"),
    ("ALTER TABLE t RENAME a TO c; UPDATE t SET c = c || ' stale'", "c"),
    (
        "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b",
        "b",
    ),
    (
        "ALTER TABLE t RENAME a TO c; SELECT threadline.refresh_audited_tables(); UPDATE t SET c = c || ' between';
         ALTER TABLE t RENAME b TO a; SELECT threadline.refresh_audited_tables(); UPDATE t SET a = 'kept 2'; ALTER TABLE t RENAME c TO d",
        "d",
    ),
    (
        "ALTER TABLE t RENAME a TO c; ALTER TABLE t ADD a text DEFAULT 'kept'; SELECT threadline.refresh_audited_tables()",
        "c",
    ),
    ("ALTER TABLE t RENAME TO t2; ALTER TABLE t2 RENAME a TO c; ALTER TABLE t2 RENAME TO t", "c"),
];

/// Renamed, exchanged, renamed with another in its place: before and after a refresh.
#[test]
fn renamed() {
    for (rename, name) in RENAMED {
        for refresh in ["", "SELECT threadline.refresh_audited_tables();"] {
            let (_database, mut conn) = committed(TABLE);
            each(&mut conn, rename);
            run(
                &mut conn,
                &format!("{refresh} UPDATE t SET {name} = {name} || ' later', n = 2"),
            );
            let others = stored(&mut conn, "key <> '1'");
            let kept = images(&mut conn, "1").matches("kept").count();
            let redacted = done(&mut conn, redact("t").row(1).mask([name]));
            let found = images(&mut conn, "1");
            assert!(!found.contains("secret"), "{rename}: {found}");
            assert_eq!(found.matches("kept").count(), kept, "{rename}: {found}");
            assert_eq!(found.matches("[REDACTED]").count() as u64, redacted.values);
            assert_eq!(stored(&mut conn, "key <> '1'"), others);
            // Nothing is read as it was not before.
            run(&mut conn, "SELECT threadline.refresh_audited_tables()");
            let past = format!(
                "SELECT string_agg(concat(id, {name}, n), ' ' ORDER BY id) FROM threadline.as_of(NULL::t, (SELECT max(captured_at) FROM threadline.audit_changes WHERE op = 'insert'))"
            );
            assert_eq!(
                text(&mut conn, &past).unwrap(),
                "1[REDACTED]0 2other0",
                "{rename}"
            );
        }
    }
}

/// A column that took the name of a dropped one: the values of both are replaced, since the audit log does not say which is which.
#[test]
fn name_of_a_dropped_column() {
    let (_database, mut conn) = committed(TABLE);
    run(
        &mut conn,
        "ALTER TABLE t DROP b; SELECT threadline.refresh_audited_tables(); UPDATE t SET a = a || ' 3';
         ALTER TABLE t RENAME a TO b; SELECT threadline.refresh_audited_tables(); UPDATE t SET b = b || ' 4'",
    );
    // And another one has the name that it had.
    run(
        &mut conn,
        "ALTER TABLE t ADD a text DEFAULT 'new'; SELECT threadline.refresh_audited_tables(); UPDATE t SET a = 'new 5'",
    );
    done(&mut conn, redact("t").row(1).mask(["b"]));
    let found = images(&mut conn, "1");
    assert!(!found.contains("secret"), "{found}");
    assert!(found.contains("new 5"), "{found}");
    assert!(images(&mut conn, "2").contains("other 2 3"));
}

/// A dropped column is named as it was called last; a name that no image has is refused.
#[test]
fn dropped() {
    let (_database, mut conn) = committed(TABLE);
    each(
        &mut conn,
        "ALTER TABLE t RENAME a TO c; SELECT threadline.refresh_audited_tables(); UPDATE t SET c = 'secret c', n = 5;
         ALTER TABLE t DROP c; UPDATE t SET n = 3; SELECT threadline.refresh_audited_tables(); UPDATE t SET n = 4",
    );
    let redacted = done(&mut conn, redact("t").row(1).remove(["c"]));
    assert_eq!(redacted.changes, 3);
    let found = images(&mut conn, "1");
    assert!(
        !found.contains("secret")
            && found.contains(r#""a": null"#)
            && found.contains(r#""c": null"#),
        "{found}"
    );
    assert!(redact("t").row(1).mask(["never"]).plan(&mut conn).is_err());
    assert!(redact("t").row(3).mask(["c"]).plan(&mut conn).is_err());
}

/// What was masked at capture later on is still there in clear from before, and is redacted.
#[test]
fn masked_since() {
    for redaction in ["mask", "exclude"] {
        let (_database, mut conn) = committed(TABLE);
        let since = format!(
            "SELECT threadline.audit_table('t', {redaction} => '{{a}}'); UPDATE t SET n = 7"
        );
        run(&mut conn, &since);
        done(&mut conn, redact("t").row(1).mask(["a"]));
        assert!(!images(&mut conn, "1").contains("secret"));
    }
}

/// A table whose capture ended, and one that was dropped, which is named by its number.
#[test]
fn ended_and_gone() {
    let (_database, mut conn) = committed(TABLE);
    let number = text(
        &mut conn,
        "SELECT relation::oid FROM threadline.audited_tables",
    )
    .unwrap();
    run(
        &mut conn,
        "SELECT threadline.unaudit_table('t'); ALTER TABLE t RENAME a TO c",
    );
    assert_eq!(done(&mut conn, redact("t").row(1).mask(["c"])).changes, 2);
    assert!(!images(&mut conn, "1").contains("secret"));
    run(&mut conn, "DROP TABLE t CASCADE");
    let of_key = redact(&number).row(2).mask(["id"]).plan(&mut conn);
    assert!(
        matches!(of_key, Err(threadline::Error::Refused { .. })),
        "{of_key:?}"
    );
    assert_eq!(
        done(&mut conn, redact(&number).row(2).mask(["a"])).changes,
        2
    );
    assert!(!images(&mut conn, "2").contains("other"));
}
