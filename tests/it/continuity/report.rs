use threadline::{BaselineState, ContinuityState, TableContinuity};

use super::*;

fn of(conn: &mut PgConnection, table: &str) -> TableContinuity {
    let tables: Vec<TableContinuity> = threadline::continuity().load(conn).unwrap();
    tables
        .into_iter()
        .find(|row| row.table_name == table)
        .unwrap()
}

/// An audited table says since when it is known, and how far the rows from before are recorded.
#[test]
fn audited() {
    let (_database, mut conn) = database(USERS);
    run(&mut conn, "ANALYZE users");
    let none = of(&mut conn, "users");
    assert_eq!(
        (none.state, none.ready, none.row_estimate),
        (ContinuityState::Audited, true, 5)
    );
    assert_eq!(
        (none.baseline, none.baseline_rows),
        (Some(BaselineState::None), None)
    );
    assert_eq!(none.readable_since, none.capture_since);
    assert!(
        none.message.ends_with(
            "the history of a row that was there then begins with its first change after it"
        ),
        "{}",
        none.message
    );

    baseline("users")
        .batch_size(2)
        .max_batches(1)
        .run(&mut conn)
        .unwrap();
    let partial = of(&mut conn, "users");
    assert_eq!(
        (partial.baseline, partial.baseline_rows),
        (Some(BaselineState::Partial), Some(2))
    );
    assert!(
        partial
            .message
            .ends_with("a baseline has gone past 2 of about 5 rows"),
        "{}",
        partial.message
    );

    record(&mut conn, "users");
    let complete = of(&mut conn, "users");
    assert_eq!(
        (complete.baseline, complete.baseline_rows),
        (Some(BaselineState::Complete), Some(5))
    );
    assert_eq!(complete.hint, None);

    run(
        &mut conn,
        "UPDATE threadline.audited_tables SET purged_before = clock_timestamp()",
    );
    let purged = of(&mut conn, "users");
    assert!(purged.readable_since > purged.capture_since);
    assert_eq!(purged.baseline, Some(BaselineState::None));

    run(&mut conn, "SELECT threadline.unaudit_table('users')");
    let ended = of(&mut conn, "users");
    assert_eq!(
        (
            ended.state,
            ended.ready,
            ended.baseline,
            ended.readable_since
        ),
        (ContinuityState::Ended, false, None, None)
    );
    assert!(
        ended.message.starts_with("its capture ended at "),
        "{}",
        ended.message
    );
}

/// A table that is not audited yet says whether it can be, and what would be missing then.
#[test]
fn not_yet_audited() {
    let (_database, mut conn) = database(
        "CREATE TABLE a_fine (id int PRIMARY KEY); CREATE TABLE b_keyless (id int); CREATE TABLE c_late (id int PRIMARY KEY DEFERRABLE);
         CREATE TABLE d_parent (id int PRIMARY KEY); CREATE TABLE e_exempt (id int); SELECT threadline.exempt_table('e_exempt', 'x');
         CREATE TABLE f_parted (id int) PARTITION BY LIST (id); CREATE EXTENSION postgres_fdw; CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
         CREATE FOREIGN TABLE f_foreign PARTITION OF f_parted DEFAULT SERVER elsewhere; CREATE SCHEMA other; CREATE TABLE other.child () INHERITS (d_parent)",
    );
    let tables: Vec<TableContinuity> = threadline::continuity().load(&mut conn).unwrap();
    let told: Vec<_> = tables
        .iter()
        .map(|t| {
            (
                t.table_name.as_str(),
                t.ready,
                t.message.as_str(),
                t.state,
                t.baseline,
            )
        })
        .collect();
    let row = |name, ready, message| (name, ready, message, ContinuityState::Uncovered, None);
    assert_eq!(
        told,
        [
            row(
                "child",
                false,
                "it can be audited, but not all of its history be told: it has no primary key"
            ),
            row(
                "a_fine",
                true,
                "it can be audited; what its rows are like before that will not be known"
            ),
            row(
                "b_keyless",
                false,
                "it can be audited, but not all of its history be told: it has no primary key"
            ),
            row(
                "c_late",
                false,
                "it can be audited, but not all of its history be told: its primary key is deferrable, so a transaction can write a key before the one that gives it up has ended"
            ),
            row(
                "d_parent",
                false,
                "it can be audited, but not all of its history be told: other tables inherit from it"
            ),
            row(
                "f_parted",
                false,
                "cannot audit public.f_parted: one of its partitions is a foreign table"
            ),
        ]
    );
    assert!(
        tables.iter().all(|table| table.hint.is_some()),
        "{tables:#?}"
    );
}

/// A reader may ask.
#[test]
fn readers() {
    let (database, mut conn) = database(USERS);
    record(&mut conn, "users");
    let role = format!("continuity_{}", database.name());
    run(
        &mut conn,
        &format!(
            "CREATE ROLE {role}; CREATE TABLE other (id int); SELECT threadline.grant_reader('{role}'); SET ROLE {role}"
        ),
    );
    assert_eq!(
        of(&mut conn, "users").baseline,
        Some(BaselineState::Complete)
    );
    assert_eq!(of(&mut conn, "other").state, ContinuityState::Uncovered);
    run(
        &mut conn,
        &format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"),
    );
}
