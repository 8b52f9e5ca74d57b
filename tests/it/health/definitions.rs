//! Definitions that the table has outgrown, and tables that are gone or can no longer be audited as they were.

use threadline_test_support::Database;

use super::{TABLES, assert_found, assert_healthy, follow_hints, problems};
use crate::common::{database, run, text};
use crate::restores::{dump, run_dump};

/// Whatever is done to a table, health tells it exactly when a refresh has something to do, and in words.
#[test]
fn stale() {
    let (_database, mut conn) = database(TABLES);
    let rows = "SELECT string_agg(t::text, E'\\n' ORDER BY id) FROM threadline.audited_tables AS t";
    for (sql, expected) in [
        (
            "ALTER TABLE numbered ADD age int NOT NULL DEFAULT 7",
            "numbered: column age is new",
        ),
        (
            "ALTER TABLE numbered ALTER age TYPE bigint",
            "numbered: column age is now of type bigint",
        ),
        (
            "ALTER TABLE numbered ALTER age DROP NOT NULL",
            "numbered: column age is defined anew",
        ),
        (
            "ALTER TABLE numbered RENAME age TO years",
            "numbered: column age is now years",
        ),
        (
            "ALTER TABLE numbered DROP years",
            "numbered: column years is gone",
        ),
        (
            "ALTER TABLE numbered RENAME email TO mail",
            "numbered: column email is now mail",
        ),
        (
            "ALTER TABLE numbered RENAME note TO x; ALTER TABLE numbered RENAME mail TO note; ALTER TABLE numbered RENAME x TO mail",
            "numbered: column mail is now note; column note is now mail",
        ),
        (
            "ALTER TABLE numbered RENAME TO renamed",
            "renamed: it was public.numbered",
        ),
        (
            "ALTER TABLE renamed SET SCHEMA \"S s\"",
            "S s.renamed: it was public.renamed",
        ),
        (
            "ALTER TABLE big DROP CONSTRAINT big_pkey",
            "big: the primary key is now ()",
        ),
        (
            "ALTER TABLE padded DROP CONSTRAINT padded_pkey, ADD id int, ADD PRIMARY KEY (id, code)",
            "padded: column id is new; the primary key is now (id, code)",
        ),
        (
            "CREATE TABLE parted_new PARTITION OF parted FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')",
            "parted: partition public.parted_new is new: a TRUNCATE of it alone is not recorded",
        ),
        ("DROP TABLE parted_new", "parted: a partition is gone"),
        (
            "ALTER TABLE parted DETACH PARTITION parted_rest",
            "parted: a partition is gone",
        ),
        (
            "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER again AFTER INSERT ON named FOR EACH ROW EXECUTE FUNCTION again()",
            "named: capture by row would be exact",
        ),
    ] {
        let before = text(&mut conn, rows);
        let stale = format!("warning definition_stale {expected}");
        // Nobody knows whether a partition that is gone had rows.
        let moved = sql.starts_with("DROP TABLE").then_some(
            "error partition_moved parted: partition public.parted_new was detached or dropped with its rows",
        );
        let expected: Vec<&str> = moved.into_iter().chain([&*stale]).collect();
        assert_found(&mut conn, sql, &expected);
        assert_ne!(text(&mut conn, rows), before, "{sql}");
    }
    for sql in [
        "CREATE INDEX ON big (id)",
        "ALTER TABLE small ADD CHECK (id > 0)",
        "ALTER TABLE identified ALTER id SET DEFAULT gen_random_uuid()",
        "COMMENT ON TABLE keyless IS 'x'",
        "ALTER TABLE keyless ALTER note SET STATISTICS 5",
        "SELECT threadline.audit_table('small')",
    ] {
        let before = text(&mut conn, rows);
        run(&mut conn, sql);
        assert_healthy(&mut conn);
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
        assert_eq!(text(&mut conn, rows), before, "{sql}");
    }
}

/// A restored database is told to need a refresh, which does not make the past begin anew: nothing was missed.
#[test]
fn restored() {
    let (database, _conn) = database(TABLES);
    let restored = Database::empty();
    run_dump(&dump(&database, &[]), &restored).unwrap();
    let mut conn = restored.connect();
    let found = problems(&mut conn);
    assert_eq!(found.len(), 14);
    for problem in found {
        assert!(
            problem.starts_with("warning definition_stale ")
                && problem.ends_with(": it was restored, or created anew"),
            "{problem}"
        );
    }
    let since =
        "SELECT string_agg(capture_since::text, ' ' ORDER BY id) FROM threadline.audited_tables";
    let before = text(&mut conn, since);
    follow_hints(&mut conn);
    assert_eq!(text(&mut conn, since), before);
}

/// A capture that an older generator wrote.
#[test]
fn outdated_generator() {
    let (_database, mut conn) = database(TABLES);
    assert_found(
        &mut conn,
        "UPDATE threadline.audited_tables SET definition_version = 0 WHERE table_name = 'big'",
        &[
            "warning generator_outdated big: its capture is of version 0 of the generator, which is at 1",
        ],
    );
}

/// Masked and excluded columns that are gone, or were renamed, stay redacted, so that is no fault.
#[test]
fn redacted_columns() {
    let (_database, mut conn) = database(TABLES);
    assert_found(
        &mut conn,
        "ALTER TABLE numbered RENAME email TO mail; ALTER TABLE numbered DROP secret",
        &["warning definition_stale numbered: column email is now mail; column secret is gone"],
    );
    assert_found(
        &mut conn,
        "ALTER TABLE numbered DROP mail; ALTER TABLE numbered ADD mail text",
        &["warning definition_stale numbered: column mail is defined anew"],
    );
    let masked =
        "SELECT masked_columns FROM threadline.audited_tables WHERE table_name = 'numbered'";
    assert_eq!(text(&mut conn, masked).unwrap(), "{email,mail}");
}

/// A table that was dropped: its history stays and its capture ends, or goes on with another of its name.
#[test]
fn dropped() {
    let (_database, mut conn) = database(TABLES);
    let gone = ["warning table_missing numbered: the table is gone"];
    assert_found(&mut conn, "DROP TABLE numbered CASCADE", &gone);
    let left = "SELECT count(*) FROM threadline.audited_tables WHERE capture_ended_at IS NOT NULL";
    assert_eq!(text(&mut conn, left).unwrap(), "1");

    let gone = ["error table_missing big: the table is gone"];
    let again = "DROP TABLE big CASCADE; CREATE TABLE big (id bigint PRIMARY KEY)";
    assert_found(&mut conn, again, &gone);
    let audited =
        "SELECT count(*) FROM threadline.coverage WHERE table_name = 'big' AND state = 'audited'";
    assert_eq!(text(&mut conn, audited).unwrap(), "1");
}

/// What a refresh would refuse is an error, with the hint of the refusal.
#[test]
fn not_auditable() {
    let (database, mut conn) = database(TABLES);
    run(
        &mut conn,
        "ALTER TABLE numbered ADD copy text GENERATED ALWAYS AS (lower(email)) STORED; SELECT threadline.audit_table('small', granularity => 'statement');
         CREATE TABLE smaller () INHERITS (small)",
    );
    assert_eq!(
        problems(&mut conn),
        [
            "error not_auditable small: cannot audit public.small: granularity 'statement' would miss writes aimed straight at a partition or child table",
            "warning definition_stale numbered: column copy is new",
            "warning granularity small: changes that its row triggers or foreign keys make to it are recorded in another order than they are made",
        ]
    );
    run(
        &mut conn,
        "SELECT threadline.audit_table('numbered', mask => '{email,copy}', exclude => '{secret}'), threadline.audit_table('small')",
    );
    assert_healthy(&mut conn);

    // An owner of the audit log who may not read the table: TRUNCATE would fail.
    let role = format!("owner_{}", database.name());
    run(
        &mut conn,
        &format!(
            "CREATE ROLE {role}; GRANT {role} TO CURRENT_USER; GRANT pg_read_all_stats TO {role}; GRANT ALL ON SCHEMA threadline TO {role}; ALTER TABLE threadline.audit_changes OWNER TO {role};
             GRANT SELECT ON ALL TABLES IN SCHEMA public, \"S s\" TO {role}; REVOKE SELECT ON big FROM {role}"
        ),
    );
    assert_eq!(
        problems(&mut conn),
        [format!(
            "error not_auditable big: cannot audit public.big: {role}, the owner of the audit log, may not read it"
        )]
    );
    follow_hints(&mut conn);
    assert_found(
        &mut conn,
        "ALTER TABLE paired ENABLE ROW LEVEL SECURITY",
        &[&format!(
            "error row_security paired: row level security of the table applies to {role}, the owner of the audit log, so that a TRUNCATE of it fails"
        )],
    );
    run(
        &mut conn,
        &format!(
            "REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"
        ),
    );
}

/// A granularity that was asked for and is no longer exact is told, and stays as it was asked for.
#[test]
fn granularity() {
    let (_database, mut conn) = database(TABLES);
    run(
        &mut conn,
        "SELECT threadline.audit_table('big', granularity => 'statement'); CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER again AFTER INSERT ON big FOR EACH ROW EXECUTE FUNCTION again()",
    );
    assert_eq!(
        problems(&mut conn),
        [
            "warning granularity big: changes that its row triggers or foreign keys make to it are recorded in another order than they are made"
        ]
    );
    run(&mut conn, "SELECT threadline.audit_table('big')");
    assert_healthy(&mut conn);
}
