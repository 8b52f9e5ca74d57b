//! Health: whatever is wrong is found, and gone when its hint has been followed; where all is well, nothing is told.

mod audit_log;
mod capture;
mod definitions;
mod figures;
mod undecided;

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use threadline::{Error, Health, HealthProblem, Severity};
use threadline_test_support::Database;

use crate::common::{database, run};

/// Every kind of key, and partitions of partitions, one of them attached with other column numbers.
const TABLES: &str = "
    CREATE TABLE numbered (id integer PRIMARY KEY, note text, email text, secret text);
    CREATE TABLE big (id bigint PRIMARY KEY, twice bigint GENERATED ALWAYS AS (id * 2) STORED);
    CREATE TABLE small (id smallint PRIMARY KEY); CREATE TABLE identified (id uuid PRIMARY KEY); CREATE TABLE named (name varchar(9) PRIMARY KEY);
    CREATE TABLE priced (price numeric(9, 2) PRIMARY KEY); CREATE TABLE padded (code char(5) PRIMARY KEY);
    CREATE TABLE paired (a bigint, \"B b\" uuid, PRIMARY KEY (\"B b\", a)); CREATE TABLE keyless (note json); CREATE TABLE bare ();
    CREATE TABLE parted (day date PRIMARY KEY, note text) PARTITION BY RANGE (day);
    CREATE TABLE parted_old PARTITION OF parted FOR VALUES FROM ('2000-01-01') TO ('2020-01-01') PARTITION BY RANGE (day);
    CREATE TABLE parted_older PARTITION OF parted_old FOR VALUES FROM ('2000-01-01') TO ('2010-01-01');
    CREATE TABLE parted_rest (gone int, note text, day date NOT NULL); ALTER TABLE parted_rest DROP gone;
    ALTER TABLE parted ATTACH PARTITION parted_rest DEFAULT;
    CREATE TABLE parted_keyless (day date) PARTITION BY RANGE (day);
    CREATE SCHEMA \"S s\"; CREATE TABLE \"S s\".\"it's\" (\"d'd\" int PRIMARY KEY, \"%s\" text);
    CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent);
    SELECT threadline.audit_table('numbered', mask => '{email}', exclude => '{secret}'), threadline.audit_table('big'), threadline.audit_table('small'),
      threadline.audit_table('identified'), threadline.audit_table('named'), threadline.audit_table('priced'), threadline.audit_table('padded'),
      threadline.audit_table('paired', granularity => 'row'), threadline.audit_table('keyless'), threadline.audit_table('bare'),
      threadline.audit_table('parted'), threadline.audit_table('parted_keyless'), threadline.audit_table('\"S s\".\"it''s\"', mask => '{%s}'),
      threadline.audit_table('parent'); SELECT threadline.exempt_table('child', 'its parent is audited')";

/// The problems, as `severity check table: message`, but for tables that the tests do not audit: see `undecided`.
#[track_caller]
fn problems(conn: &mut PgConnection) -> Vec<String> {
    let decided = |problem: &&HealthProblem| problem.check != "uncovered";
    let problems: Vec<HealthProblem> = threadline::health().load(conn).unwrap();
    problems.iter().filter(decided).map(line).collect()
}

fn line(problem: &HealthProblem) -> String {
    let HealthProblem {
        check,
        severity,
        table_schema,
        table_name,
        message,
        ..
    } = problem;
    let table = table_name
        .as_deref()
        .map(|table| match table_schema.as_deref() {
            Some("public") => table.to_owned(),
            schema => format!("{}.{table}", schema.unwrap_or_default()),
        });
    format!(
        "{severity} {check} {}: {message}",
        table.unwrap_or_default()
    )
}

/// Runs the statement in each hint, until nothing is wrong any more.
#[track_caller]
fn follow_hints(conn: &mut PgConnection) {
    let problems: Vec<HealthProblem> = threadline::health().load(conn).unwrap();
    let decided = problems
        .iter()
        .filter(|problem| problem.check != "uncovered");
    for HealthProblem { hint, .. } in decided {
        let verbs = [
            "SELECT ", "ALTER ", "CREATE ", "GRANT ", "REINDEX ", "REVOKE ",
        ];
        let start = verbs.iter().filter_map(|verb| hint.find(verb)).min();
        let end = hint.rfind(';');
        let (Some(start), Some(end)) = (start, end) else {
            panic!("there is no statement in {hint}");
        };
        run(conn, &hint[start..end]);
    }
    assert_healthy(conn);
}

#[track_caller]
fn assert_healthy(conn: &mut PgConnection) {
    assert_eq!(problems(conn), [""; 0]);
}

/// What is done in `sql` is found as these problems, and is mended by what their hints say.
#[track_caller]
fn assert_found(conn: &mut PgConnection, sql: &str, expected: &[&str]) {
    run(conn, sql);
    assert_eq!(problems(conn), expected, "{sql}");
    follow_hints(conn);
}

/// Nothing is wrong right after the migrations, with nothing audited, nor with tables of every kind, before and after they are
/// written.
#[test]
fn healthy() {
    let database = Database::new();
    let mut conn = database.connect();
    let health = threadline::check_health(&mut conn).unwrap();
    assert!(health.is_healthy(), "{health}");
    assert_eq!(health.to_string(), "healthy");
    run(&mut conn, TABLES);
    assert_healthy(&mut conn);
    run(
        &mut conn,
        "INSERT INTO numbered VALUES (1, 'a', 'b', 'c'); UPDATE numbered SET id = 2; INSERT INTO parted VALUES ('2005-01-01'), ('2025-01-01');
         UPDATE parted SET day = '2026-01-01' WHERE day < '2010-01-01'; TRUNCATE parted; TRUNCATE numbered; INSERT INTO keyless VALUES ('{}')",
    );
    assert_healthy(&mut conn);
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    let health = threadline::check_health(&mut conn).unwrap();
    assert!(health.is_healthy(), "{health}");
    assert_eq!(health.pending_migrations.as_deref(), Some(&[][..]));
    assert_eq!(health.worst(), None);
}

/// Tables whose capture was ended are not looked at.
#[test]
fn ended() {
    let (_database, mut conn) = database(TABLES);
    run(
        &mut conn,
        "SELECT threadline.unaudit_table('numbered'), threadline.unaudit_table('parted'); ALTER TABLE numbered ADD x int; DROP TABLE parted CASCADE",
    );
    assert_healthy(&mut conn);
}

/// Where Diesel knows of none of Threadline's migrations, someone else ran them, and none is called pending.
#[test]
fn migrations_that_diesel_did_not_run() {
    let (_database, mut conn) =
        database("CREATE TABLE a (id int PRIMARY KEY); SELECT threadline.audit_table('a')");
    let health = threadline::check_health(&mut conn).unwrap();
    assert_eq!(health.pending_migrations.as_deref(), Some(&[][..]));

    // Run by hand, or in a database that was restored without Diesel's table.
    run(&mut conn, "DELETE FROM __diesel_schema_migrations");
    let health = threadline::check_health(&mut conn).unwrap();
    assert_eq!(
        (health.is_healthy(), &health.pending_migrations),
        (true, &None)
    );
    run(&mut conn, "DROP TABLE __diesel_schema_migrations");
    let health = threadline::check_health(&mut conn).unwrap();
    assert_eq!(
        (health.is_healthy(), &health.pending_migrations),
        (true, &None)
    );
}

/// Without the schema there is no health to check.
#[test]
fn not_migrated() {
    let database = Database::empty();
    let error = threadline::check_health(&mut database.connect()).unwrap_err();
    assert!(matches!(error, Error::NotMigrated), "{error:?}");
}

/// Errors come before warnings.
#[test]
fn errors_first() {
    let (_database, mut conn) = database(TABLES);
    run(
        &mut conn,
        "ALTER TABLE big ADD x int; ALTER TABLE padded DISABLE TRIGGER ALL; DROP TABLE named CASCADE",
    );
    let health = threadline::check_health(&mut conn).unwrap();
    let severities: Vec<_> = health.problems.iter().map(|p| p.severity).collect();
    let (errors, warnings) = severities.split_at(4);
    assert_eq!(errors, [Severity::Error; 4]);
    assert_eq!(warnings, [Severity::Warning; 2]);
    assert_eq!(health.worst(), Some(Severity::Error));
}

/// A reader may check everything, whatever is wrong, and finds what the owner of the audit log finds.
#[test]
fn readers() {
    let (database, mut conn) = database(TABLES);
    let role = format!("health_{}", database.name());
    run(&mut conn, &format!("CREATE ROLE {role}; SET ROLE {role}"));
    let refused = threadline::check_health(&mut conn).unwrap_err();
    assert!(matches!(refused, Error::Database(_)), "{refused:?}");
    run(
        &mut conn,
        &format!("RESET ROLE; SELECT threadline.grant_reader('{role}')"),
    );
    let as_reader = |conn: &mut PgConnection| -> Health {
        run(conn, &format!("SET ROLE {role}"));
        let health = threadline::check_health(conn).unwrap();
        run(conn, "RESET ROLE");
        health
    };
    let health = as_reader(&mut conn);
    assert!(health.is_healthy(), "{health}");
    assert_eq!(health.pending_migrations.as_deref(), Some(&[][..]));
    run(
        &mut conn,
        "ALTER TABLE numbered RENAME note TO remark; ALTER TABLE numbered ADD age int NOT NULL DEFAULT 7; ALTER TABLE numbered DROP secret;
         ALTER TABLE padded DISABLE TRIGGER ALL; CREATE TABLE parted_new PARTITION OF parted FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
         CREATE OR REPLACE FUNCTION threadline_internal.capture_1_insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    );
    let found = as_reader(&mut conn);
    assert_eq!(found.problems.len(), 7, "{found}");
    let owner = threadline::check_health(&mut conn).unwrap();
    assert_eq!(found.problems, owner.problems);
    run(
        &mut conn,
        &format!("DROP OWNED BY {role}; DROP ROLE {role}"),
    );
}

/// The same on an asynchronous connection.
#[tokio::test]
async fn asynchronous() {
    let (database, mut sync_conn) = database(TABLES);
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let health = threadline::check_health(&mut conn).await.unwrap();
    assert!(health.is_healthy(), "{health}");
    run(&mut sync_conn, "ALTER TABLE big ADD x int");
    let health = threadline::check_health(&mut conn).await.unwrap();
    let lines: Vec<_> = health.problems.iter().map(line).collect();
    assert_eq!(lines, ["warning definition_stale big: column x is new"]);
    let same = threadline::check_health(&mut sync_conn).unwrap();
    assert_eq!(health.problems, same.problems);
    assert_eq!(health.figures.captures, same.figures.captures);
    let direct: Vec<HealthProblem> =
        diesel_async::RunQueryDsl::load(threadline::health(), &mut conn)
            .await
            .unwrap();
    assert_eq!(direct, health.problems);

    let empty = Database::empty();
    let mut conn = AsyncPgConnection::establish(empty.url()).await.unwrap();
    let error = threadline::check_health(&mut conn).await.unwrap_err();
    assert!(matches!(error, Error::NotMigrated), "{error:?}");
}
