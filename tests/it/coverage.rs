//! Every table is audited, exempt or reported; and the specifications of the models are compared with the database.

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use threadline::prelude::*;
use threadline::{CoverageState, Error, Finding, Granularity, TableCoverage, TableSpec};
use threadline_test_support::Database;

use crate::common::{database, error, run, text};

diesel::table! { users { id -> Int4, name -> Text, email -> Text, password_hash -> Text } }
diesel::table! { shop.orders (shop, number) { shop -> Int4, number -> Int8, note -> Text } }
diesel::table! { parts (day) { day -> Date, note -> Text } }

#[derive(Queryable, Selectable, Audited)]
#[diesel(table_name = users)]
#[audited(mask(email), exclude(password_hash))]
#[expect(dead_code, reason = "only its specification is looked at")]
struct User {
    id: i32,
    name: String,
}

#[derive(Queryable, Selectable, Audited)]
#[diesel(table_name = orders, primary_key(shop, number))]
#[expect(dead_code, reason = "only its specification is looked at")]
struct Order {
    shop: i32,
    number: i64,
}

const TABLES: &str = "
    CREATE SCHEMA shop; CREATE SCHEMA \"Odd one\";
    CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL, password_hash text NOT NULL);
    CREATE TABLE shop.orders (shop int, number bigint, note text NOT NULL, PRIMARY KEY (shop, number));
    CREATE TABLE \"Odd one\".\"it's \"\"it\"\"\" (id int);
    CREATE TABLE parts (day date PRIMARY KEY, note text) PARTITION BY RANGE (day);
    CREATE TABLE parts_2026 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY RANGE (day);
    CREATE TABLE parts_rest PARTITION OF parts_2026 DEFAULT;
    CREATE VIEW seen AS SELECT 1; CREATE MATERIALIZED VIEW kept AS SELECT 1; CREATE SEQUENCE counted; CREATE TYPE made AS (a int);
    CREATE TEMP TABLE passing (id int);
    CREATE UNLOGGED TABLE fleeting (id int)";

fn specs() -> [TableSpec; 2] {
    [User::audit_spec(), Order::audit_spec()]
}

/// Tables that are audited as the models say, and the rest exempt.
fn covered() -> (Database, PgConnection) {
    let (database, mut conn) = database(TABLES);
    threadline::capture::install(&mut conn, &specs()).unwrap();
    run(
        &mut conn,
        r#"SELECT threadline.audit_table('parts'), threadline.exempt_table('fleeting', 'nothing lasts'),
             threadline.exempt_table('"Odd one"."it''s ""it"""', 'only a test')"#,
    );
    (database, conn)
}

/// `schema.table state`, with the reason.
fn states(conn: &mut PgConnection) -> Vec<String> {
    let tables: Vec<TableCoverage> = threadline::coverage().load(conn).unwrap();
    let state = |table: TableCoverage| {
        assert_eq!(
            (table.granularity.is_some(), table.capture_since.is_some()),
            (
                table.state == CoverageState::Audited,
                table.state == CoverageState::Audited
            )
        );
        let reason = table.reason.map(|reason| format!(" {reason}"));
        format!(
            "{}.{} {:?}{}",
            table.table_schema,
            table.table_name,
            table.state,
            reason.unwrap_or_default()
        )
    };
    tables.into_iter().map(state).collect()
}

/// What a check found, as `table: message`; none if it found nothing.
#[track_caller]
fn found(result: Result<(), Error>) -> Vec<String> {
    let told = |finding: &Finding| {
        assert!(!finding.hint.is_empty(), "{finding}");
        format!("{}: {}", finding.table, finding.message)
    };
    match result {
        Ok(()) => Vec::new(),
        Err(Error::NotCovered { findings }) => {
            assert!(!findings.is_empty());
            findings.iter().map(told).collect()
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Tables and partitioned tables are listed, with what they are; what others keep for themselves is not.
#[test]
fn every_table() {
    let (_database, mut conn) = database(TABLES);
    let uncovered = [
        "Odd one.it's \"it\" Uncovered",
        "public.fleeting Uncovered",
        "public.parts Uncovered",
        "public.users Uncovered",
        "shop.orders Uncovered",
    ];
    assert_eq!(states(&mut conn), uncovered);
    run(
        &mut conn,
        "SELECT threadline.audit_table('parts'), threadline.audit_table('users'), threadline.unaudit_table('users'),
                threadline.exempt_table('fleeting', 'nothing lasts')",
    );
    assert_eq!(
        states(&mut conn)[1..4],
        [
            "public.fleeting Exempt nothing lasts",
            "public.parts Audited",
            "public.users Uncovered"
        ]
    );
}

/// Diesel's own table and those of extensions are not asked for.
#[test]
fn tables_of_others() {
    let (_database, mut conn) = database("CREATE TABLE ours (id int)");
    let diesels = "SELECT count(*) FROM pg_class WHERE relname = '__diesel_schema_migrations'";
    assert_eq!(text(&mut conn, diesels).unwrap(), "1");
    // What CREATE EXTENSION does to the tables of its script, without one that has tables.
    run(
        &mut conn,
        "CREATE TABLE theirs (id int); ALTER EXTENSION plpgsql ADD TABLE theirs",
    );
    assert_eq!(states(&mut conn), ["public.ours Uncovered"]);
}

/// An exemption has a reason and says who gave it; it can be changed and taken back, and ends with its table.
#[test]
fn exemptions() {
    let (_database, mut conn) = database("CREATE TABLE a (id int); CREATE TABLE b (id int)");
    run(
        &mut conn,
        r#"SELECT threadline.exempt_table('a', 'first');
           BEGIN; SET LOCAL threadline.actor_ref = '{"type": "admin", "id": "7"}'; SELECT threadline.exempt_table('a', 'second'); COMMIT"#,
    );
    assert_eq!(
        states(&mut conn),
        ["public.a Exempt second", "public.b Uncovered"]
    );
    let who = "SELECT concat_ws(' ', exempted_by = current_user, exempted_at <= now(), actor_ref) FROM threadline.exempt_tables";
    assert_eq!(
        text(&mut conn, who).unwrap(),
        r#"t t {"id": "7", "type": "admin"}"#
    );
    let took = "SELECT concat(threadline.unexempt_table('a'), threadline.unexempt_table('a'))";
    assert_eq!(text(&mut conn, took).unwrap(), "tf");
    run(
        &mut conn,
        "SELECT threadline.exempt_table('a', 'x'); ALTER TABLE a RENAME TO c",
    );
    assert_eq!(
        states(&mut conn),
        ["public.b Uncovered", "public.c Exempt x"]
    );
    run(
        &mut conn,
        "DROP TABLE c; CREATE TABLE a (id int); SELECT threadline.exempt_table('b', 'y')",
    );
    assert_eq!(
        states(&mut conn),
        ["public.a Uncovered", "public.b Exempt y"]
    );
    let left = "SELECT count(*) FROM threadline.exempt_tables";
    assert_eq!(text(&mut conn, left).unwrap(), "1");
}

/// What cannot be exempt is refused with a hint; a table that is exempt is not audited, nor one that is audited exempt.
#[test]
fn exemptions_refused() {
    let (_database, mut conn) = database(TABLES);
    for (arguments, refusal) in [
        ("'users', ' '", "public.users: there is no reason"),
        ("'users', NULL", "public.users: there is no reason"),
        (
            "'seen', 'x'",
            "public.seen: nobody asks for it to be audited",
        ),
        (
            "'parts_rest', 'x'",
            "public.parts_rest: nobody asks for it to be audited",
        ),
        (
            "'threadline.audit_changes', 'x'",
            "threadline.audit_changes: nobody asks for it to be audited",
        ),
        ("NULL, 'x'", "NULL: nobody asks for it to be audited"),
    ] {
        let message = error(
            &mut conn,
            &format!("SELECT threadline.exempt_table({arguments})"),
        );
        let expected = format!("cannot exempt {refusal} HINT: ");
        assert!(message.starts_with(&expected), "{message}");
    }
    run(&mut conn, "SELECT threadline.audit_table('users')");
    assert_eq!(
        error(&mut conn, "SELECT threadline.exempt_table('users', 'x')"),
        "cannot exempt public.users: it is audited HINT: End its capture first: SELECT threadline.unaudit_table('public.users');"
    );
    run(
        &mut conn,
        "SELECT threadline.unaudit_table('users'), threadline.exempt_table('users', 'by decree')",
    );
    let refused = threadline::capture::install(&mut conn, &specs()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot audit public.users: it is exempt: by decree (If that is no longer so: SELECT threadline.unexempt_table('public.users');)"
    );
    run(&mut conn, "SELECT threadline.unexempt_table('users')");
    threadline::capture::install(&mut conn, &specs()).unwrap();
}

/// The strict check lists each table that nobody decided on, with statements that end it, and nothing else.
#[test]
fn strict() {
    let (_database, mut conn) = database(TABLES);
    let Err(Error::NotCovered { findings }) = threadline::assert_covered(&mut conn) else {
        panic!("five tables are uncovered");
    };
    let tables: Vec<_> = findings.iter().map(|finding| &*finding.table).collect();
    let all = [
        "Odd one.it's \"it\"",
        "public.fleeting",
        "public.parts",
        "public.users",
        "shop.orders",
    ];
    assert_eq!(tables, all);
    for finding in &findings {
        let statement = finding.hint.split("or ").nth(1).unwrap();
        run(&mut conn, statement);
    }
    threadline::assert_covered(&mut conn).unwrap();
    run(
        &mut conn,
        "SELECT threadline.unexempt_table('users'), threadline.audit_table('users'); ALTER TABLE users DISABLE TRIGGER ALL",
    );
    threadline::assert_covered(&mut conn).unwrap();
}

/// Without the migrations, both checks say so.
#[test]
fn not_migrated() {
    let database = Database::empty();
    let mut conn = database.connect();
    let error = threadline::assert_covered(&mut conn).unwrap_err();
    assert!(matches!(error, Error::NotMigrated), "{error:?}");
    let error = threadline::assert_audited(&mut conn, &specs()).unwrap_err();
    assert!(matches!(error, Error::NotMigrated), "{error:?}");
}

/// Models and database agree after `install`, also with nothing to audit.
#[test]
fn models_agree() {
    let (_database, mut conn) = covered();
    threadline::assert_audited(&mut conn, &specs()).unwrap();
    let by_row = TableSpec::new(parts::table).key(["day"]);
    threadline::assert_audited(&mut conn, &[by_row]).unwrap();
    threadline::assert_audited(&mut conn, &[]).unwrap();
    let database = Database::new();
    threadline::assert_audited(&mut database.connect(), &[]).unwrap();
}

/// Each way in which a model and the database can disagree is found, with what each of them says.
#[test]
fn models_disagree() {
    let (_database, mut conn) = covered();
    let users = || TableSpec::new(users::table);
    for (spec, expected) in [
        (
            users().mask(["email", "name"]).exclude(["password_hash"]),
            vec!["public.users: column name is not masked, but in the model"],
        ),
        (users().exclude(["password_hash"]), vec![]),
        (
            users().unredact(["email"]).exclude(["password_hash"]),
            vec!["public.users: column email is redacted, but unredacted in the model"],
        ),
        (
            users().exclude(["email"]).mask(["password_hash"]),
            vec!["public.users: column email is not excluded, but in the model"],
        ),
        (
            User::audit_spec().key(["name"]),
            vec!["public.users: the model has the primary key (name), the table (id)"],
        ),
        (
            Order::audit_spec().key(["number", "shop"]),
            vec![
                "shop.orders: the model has the primary key (number, shop), the table (shop, number)",
            ],
        ),
        (
            User::audit_spec().granularity(Granularity::Row),
            vec!["public.users: capture is as the database chooses, and in the model by row"],
        ),
    ] {
        let result = threadline::assert_audited(&mut conn, std::slice::from_ref(&spec));
        assert_eq!(found(result), expected, "{spec}");
    }
    run(
        &mut conn,
        "SELECT threadline.audit_table('shop.orders', granularity => 'row')",
    );
    assert_eq!(
        found(threadline::assert_audited(&mut conn, &specs())),
        ["shop.orders: capture is by row, and in the model as the database chooses"]
    );
    threadline::capture::install(&mut conn, &specs()).unwrap();
    threadline::assert_audited(&mut conn, &specs()).unwrap();
}

/// One error has everything that is wrong: tables that are missing, not audited, exempt, stale, broken or uncovered.
#[test]
fn everything_at_once() {
    let (_database, mut conn) = covered();
    diesel::table! { nowhere { id -> Int4 } }
    run(
        &mut conn,
        "SELECT threadline.unaudit_table('shop.orders'), threadline.unexempt_table('fleeting');
         ALTER TABLE users ADD age int; DROP TRIGGER \"!threadline_3_truncate\" ON parts;
         UPDATE threadline.audited_tables SET definition_version = 0 WHERE relation = 'parts'::regclass",
    );
    let specs = [
        User::audit_spec(),
        Order::audit_spec(),
        TableSpec::new(nowhere::table),
    ];
    let result = threadline::assert_audited(&mut conn, &specs);
    let told = result.as_ref().unwrap_err().to_string();
    assert_eq!(
        found(result),
        [
            "shop.orders: it is not audited",
            "\"nowhere\": there is no such table",
            "public.parts: trigger \"!threadline_3_truncate\" is missing",
            "public.parts: its capture is of version 0 of the generator, which is at 1",
            "public.users: column age is new",
            "public.fleeting: it is neither audited nor exempt",
        ]
    );
    assert!(
        told.starts_with("what is audited is not what it should be:\nshop.orders: it is not audited\n  SELECT threadline.audit_table("),
        "{told}"
    );
    run(
        &mut conn,
        "SELECT threadline.refresh_audited_tables(), threadline.audit_table('shop.orders'), threadline.exempt_table('fleeting', 'x')",
    );
    threadline::assert_audited(&mut conn, &specs[..2]).unwrap();
}

/// A reader may check all of it; who may not read the audit log gets the error of the database.
#[test]
fn readers() {
    let (database, mut conn) = covered();
    let role = format!("coverage_{}", database.name());
    run(
        &mut conn,
        &format!("CREATE ROLE {role}; GRANT USAGE ON SCHEMA shop TO {role}; SET ROLE {role}"),
    );
    let refused = threadline::assert_covered(&mut conn).unwrap_err();
    assert!(matches!(refused, Error::Database(_)), "{refused:?}");
    run(
        &mut conn,
        &format!("RESET ROLE; SELECT threadline.grant_reader('{role}'); SET ROLE {role}"),
    );
    assert_eq!(states(&mut conn).len(), 5);
    threadline::assert_covered(&mut conn).unwrap();
    threadline::assert_audited(&mut conn, &specs()).unwrap();
    run(
        &mut conn,
        &format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"),
    );
}

/// The same on an asynchronous connection.
#[tokio::test]
async fn asynchronous() {
    let (database, mut sync_conn) = covered();
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let tables: Vec<TableCoverage> =
        diesel_async::RunQueryDsl::load(threadline::coverage(), &mut conn)
            .await
            .unwrap();
    assert_eq!(tables.len(), 5);
    threadline::assert_covered(&mut conn).await.unwrap();
    threadline::assert_audited(&mut conn, &specs())
        .await
        .unwrap();
    run(
        &mut sync_conn,
        "SELECT threadline.unaudit_table('users'); ALTER TABLE parts ADD x int",
    );
    let expected = [
        "public.users: it is not audited",
        "public.parts: column x is new",
    ];
    assert_eq!(
        found(threadline::assert_audited(&mut conn, &specs()).await),
        expected
    );
    assert_eq!(
        found(threadline::assert_covered(&mut conn).await),
        ["public.users: it is neither audited nor exempt"]
    );
    let empty = Database::empty();
    let mut conn = AsyncPgConnection::establish(empty.url()).await.unwrap();
    let error = threadline::assert_covered(&mut conn).await.unwrap_err();
    assert!(matches!(error, Error::NotMigrated), "{error:?}");
}
