//! The audit log itself: its partitions, and who may write it or change what writes it.

use chrono::{Datelike, Months, Utc};
use diesel::pg::PgConnection;

use super::{assert_found, assert_healthy, follow_hints, problems};
use crate::common::{database, run, text};

const AUDITED: &str =
    "CREATE TABLE items (id int PRIMARY KEY); SELECT threadline.audit_table('items')";

/// The month so many months from now, as in the name of its partition.
fn month(ahead: u32) -> String {
    let month = Utc::now() + Months::new(ahead);
    format!("{:04}_{:02}", month.year(), month.month())
}

/// A partition for this or the next month that is missing or was detached; those after it may be.
#[test]
fn partitions() {
    let (_database, mut conn) = database(AUDITED);
    let (this, next) = (month(0), month(1));
    let missing = |month: &str| {
        format!(
            "warning partition_missing threadline.audit_changes: there is no partition for the changes of {}",
            month.replace('_', "-")
        )
    };
    run(
        &mut conn,
        &format!(
            "DROP TABLE threadline.audit_changes_{}, threadline.audit_changes_{}",
            month(2),
            month(3)
        ),
    );
    assert_healthy(&mut conn);
    assert_found(
        &mut conn,
        &format!("DROP TABLE threadline.audit_changes_{next}"),
        &[&missing(&next)],
    );
    assert_found(
        &mut conn,
        &format!(
            "ALTER TABLE threadline.audit_changes DETACH PARTITION threadline.audit_changes_{next}"
        ),
        &[&missing(&next)],
    );
    assert_found(
        &mut conn,
        &format!("DROP TABLE threadline.audit_changes_{next}, threadline.audit_changes_{this}"),
        &[&missing(&this), &missing(&next)],
    );
}

/// Changes in the default partition are told until their months have partitions, however far ahead those are.
#[test]
fn default_partition() {
    let (_database, mut conn) = database(AUDITED);
    let this = month(0);
    run(
        &mut conn,
        &format!("DROP TABLE threadline.audit_changes_{this}; INSERT INTO items VALUES (1), (2)"),
    );
    let found = problems(&mut conn);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[1].starts_with(
            "warning default_partition threadline.audit_changes_default: 2 changes, the latest of 2"
        ),
        "{found:?}"
    );
    follow_hints(&mut conn);
    run(
        &mut conn,
        "UPDATE threadline.audit_changes SET captured_at = captured_at + interval '14 months' WHERE key_integer = 2",
    );
    // No partition for that time, and a clock that was ahead.
    assert_eq!(problems(&mut conn).len(), 2);
    follow_hints(&mut conn);
    let recorded = "SELECT count(*) FROM threadline.audit_changes";
    assert_eq!(text(&mut conn, recorded).unwrap(), "2");
}

/// The index of a partition for a type of key that tables have.
#[test]
fn key_indexes() {
    let (_database, mut conn) = database(AUDITED);
    let partition = format!("audit_changes_{}", month(0));
    let index = format!("{partition}_key_integer_idx");
    let found = format!(
        "warning key_index_missing threadline.{partition}: reading the history of a row reads all changes of its table in that month"
    );
    assert_found(
        &mut conn,
        &format!("DROP INDEX threadline.{index}"),
        &[&found],
    );
    // As a CREATE INDEX CONCURRENTLY that failed leaves it.
    assert_found(
        &mut conn,
        &format!(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'threadline.{index}'::regclass"
        ),
        &[&found],
    );
    run(
        &mut conn,
        &format!("DROP INDEX threadline.{index}; SELECT threadline.maintain()"),
    );
    assert_healthy(&mut conn);
}

/// Runs it as a transaction that is rolled back, so that no role is left, nor seen by others.
fn with_role(work: impl FnOnce(&mut PgConnection, &str)) {
    let (database, mut conn) = database(AUDITED);
    let role = format!("rights_{}", database.name());
    run(&mut conn, &format!("BEGIN; CREATE ROLE {role}"));
    work(&mut conn, &role);
    run(&mut conn, "ROLLBACK");
}

/// Whoever may write a table of the audit log, one of its columns or sequences, or put a trigger on it; readers and recorders
/// may not.
#[test]
fn writers() {
    with_role(|conn, role| {
        run(
            conn,
            &format!(
                "SELECT threadline.grant_reader('{role}'), threadline.grant_recorder('{role}')"
            ),
        );
        assert_healthy(conn);
        let partition = format!("audit_changes_{}", month(0));
        for (grant, table, told) in [
            (
                "INSERT, DELETE ON threadline.audit_changes",
                "audit_changes",
                "DELETE, INSERT on TABLE threadline.audit_changes",
            ),
            (
                &*format!("UPDATE ON threadline.{partition}"),
                &*partition,
                &*format!("UPDATE on TABLE threadline.{partition}"),
            ),
            (
                "UPDATE (actor_ref) ON threadline.audit_transactions",
                "audit_transactions",
                "UPDATE (actor_ref) on TABLE threadline.audit_transactions",
            ),
            (
                "TRUNCATE ON threadline.exempt_tables",
                "exempt_tables",
                "TRUNCATE on TABLE threadline.exempt_tables",
            ),
            (
                "TRIGGER ON threadline.audit_actions",
                "audit_actions",
                "TRIGGER on TABLE threadline.audit_actions",
            ),
            (
                "USAGE ON SEQUENCE threadline.audit_changes_id_seq",
                "audit_changes_id_seq",
                "USAGE on SEQUENCE threadline.audit_changes_id_seq",
            ),
        ] {
            assert_found(
                conn,
                &format!("GRANT {grant} TO {role}"),
                &[&format!(
                    "error audit_log_writable threadline.{table}: {role} has {told}"
                )],
            );
        }
        // A change of owner and back takes the rights of a reader with it, which is another finding.
        run(
            conn,
            &format!("REVOKE SELECT ON threadline.audit_changes FROM {role}"),
        );
        assert_found(
            conn,
            &format!("ALTER TABLE threadline.audit_actions OWNER TO {role}"),
            &[&format!(
                "error audit_log_writable threadline.audit_actions: TABLE threadline.audit_actions belongs to {role}, who does not own the audit log"
            )],
        );
        let has_role = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_write_all_data')";
        if text(conn, has_role).unwrap() == "true" {
            assert_found(
                conn,
                &format!("GRANT pg_write_all_data TO {role}"),
                &[&format!(
                    "error audit_log_writable : {role} is a member of pg_write_all_data"
                )],
            );
        }
    });
}

/// Whoever may create functions beside ours, or owns one of them.
#[test]
fn replaceable_functions() {
    with_role(|conn, role| {
        assert_found(
            conn,
            &format!("GRANT CREATE ON SCHEMA threadline TO {role}"),
            &[&format!(
                "error functions_replaceable : {role} has CREATE on SCHEMA threadline"
            )],
        );
        assert_found(
            conn,
            &format!("GRANT CREATE ON SCHEMA threadline TO {role}; ALTER FUNCTION threadline_internal.capture_1_insert() OWNER TO {role};
                      REVOKE CREATE ON SCHEMA threadline FROM {role}"),
            &[&format!("error functions_replaceable : FUNCTION threadline_internal.capture_1_insert() belongs to {role}, who does not own the audit log")],
        );
    });
}

/// Whatever everybody may.
#[test]
fn granted_to_public() {
    let (_database, mut conn) = database(AUDITED);
    for (grant, told) in [
        (
            "SELECT ON threadline.audit_changes",
            "error granted_to_public threadline.audit_changes: PUBLIC has SELECT on TABLE threadline.audit_changes",
        ),
        (
            "SELECT (meta) ON threadline.audit_actions",
            "error granted_to_public threadline.audit_actions: PUBLIC has SELECT (meta) on TABLE threadline.audit_actions",
        ),
        (
            "USAGE ON SCHEMA threadline",
            "error granted_to_public : PUBLIC has USAGE on SCHEMA threadline",
        ),
        ("EXECUTE ON ALL FUNCTIONS IN SCHEMA threadline", ""),
    ] {
        run(&mut conn, &format!("GRANT {grant} TO PUBLIC"));
        let found = problems(&mut conn);
        assert_eq!(found.len(), 1, "{found:?}");
        if told.is_empty() {
            assert!(
                found[0].starts_with("warning granted_to_public : PUBLIC has EXECUTE on "),
                "{found:?}"
            );
        } else {
            assert_eq!(found, [told]);
        }
        follow_hints(&mut conn);
    }
}

/// Sessions that are set up so that no trigger fires in them.
#[test]
fn bypassed_triggers() {
    let (database, _) = database(AUDITED);
    let name = database.name();
    with_role(|conn, role| {
        assert_found(
            conn,
            &format!("ALTER ROLE {role} SET session_replication_role = replica"),
            &[&format!(
                "error triggers_bypassed : session_replication_role is replica for ROLE {role}"
            )],
        );
        run(
            conn,
            &format!("ALTER DATABASE {name} SET session_replication_role = replica"),
        );
        assert_healthy(conn);
    });
    let mut conn = database.connect();
    run(&mut conn, "SET session_replication_role = origin");
    assert_found(
        &mut conn,
        &format!("ALTER DATABASE {name} SET session_replication_role = replica"),
        &[&format!(
            "error triggers_bypassed : session_replication_role is replica for DATABASE {name}"
        )],
    );
}
