//! Law: auditing never stands in the way of what an application does to its own tables and types.

use diesel::pg::PgConnection;
use diesel::prelude::*;
use threadline::prelude::*;
use threadline_test_support::Database;

use super::texts;
use crate::common::{count, database, error, run, text};

/// Keys and columns of every kind of user-defined type, and names of every kind.
const TABLES: &str = r#"
    CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN s.number AS integer;
    CREATE DOMAIN s.label AS text; CREATE TYPE s.place AS (x integer, y text);
    CREATE TABLE s.by_enum (k s.mood PRIMARY KEY, v text);
    CREATE TABLE s.by_domain (k s.number, l s.label, v text, PRIMARY KEY (k, l));
    CREATE TABLE s.by_composite (k s.place PRIMARY KEY, v text);
    CREATE TABLE s."Odd ""name"", (x) \ y" ("the key" integer PRIMARY KEY, p s.place);
    CREATE TABLE s.a_name_of_sixty_bytes_which_is_too_long_for_all_functions_ok (k uuid PRIMARY KEY, p s.place[]);
    CREATE TABLE s.keyless (v s.mood);
"#;

const NAMES: [&str; 6] = [
    "s.by_enum",
    "s.by_domain",
    "s.by_composite",
    r#"s."Odd ""name"", (x) \ y""#,
    "s.a_name_of_sixty_bytes_which_is_too_long_for_all_functions_ok",
    "s.keyless",
];

const WRITES: &str = r#"
    INSERT INTO s.by_enum VALUES ('sad', 'then'); INSERT INTO s.by_domain VALUES (3, 'l', 'then');
    INSERT INTO s.by_composite VALUES ('(1,a)', 'then'); INSERT INTO s."Odd ""name"", (x) \ y" VALUES (7, '(1,a)');
    INSERT INTO s.a_name_of_sixty_bytes_which_is_too_long_for_all_functions_ok VALUES (gen_random_uuid(), '{"(1,a)"}');
    INSERT INTO s.keyless VALUES ('sad');
"#;

fn audited(tables: &str) -> (Database, PgConnection) {
    let (database, mut conn) = database(tables);
    for name in NAMES {
        run(
            &mut conn,
            &format!("SELECT threadline.audit_table('{name}')"),
        );
    }
    run(&mut conn, WRITES);
    (database, conn)
}

fn now(conn: &mut PgConnection) -> String {
    text(conn, "SELECT clock_timestamp()").expect("the server knows the time")
}

/// What reads tables: nothing of it is left when they are gone.
const READING: &str = "pg_proc WHERE pronamespace = 'threadline_internal'::regnamespace AND proname ~ '^(as_of|versions|row_of|row_as_of|row_key|restore)( |_[0-9])'";

/// Tables, then their types, then their schema are dropped like those that are not audited, under capture or after it. The
/// audit log stays, and what read the tables goes with the next call of `audit_table` or `unaudit_table`.
#[test]
fn drops() {
    for unaudited in [false, true] {
        let (_database, mut conn) = audited(TABLES);
        for name in NAMES {
            if unaudited {
                let end = format!("SELECT threadline.unaudit_table('{name}')");
                assert_eq!(text(&mut conn, &end).as_deref(), Some("true"));
            }
            run(&mut conn, &format!("DROP TABLE {name}"));
        }
        run(
            &mut conn,
            "DROP TYPE s.mood; DROP DOMAIN s.number; DROP DOMAIN s.label; DROP TYPE s.place; DROP SCHEMA s",
        );
        assert_eq!(count(&mut conn, "threadline.changes"), 6);
        let kept = "SELECT max(\"row\" ->> 'v') FROM threadline.timeline(max_rows => 100)";
        assert_eq!(text(&mut conn, kept).as_deref(), Some("then"));
        run(
            &mut conn,
            "CREATE TABLE t (id integer PRIMARY KEY); SELECT threadline.audit_table('t')",
        );
        let left = format!("{READING} AND proname !~ '[ _.](t|7)$'");
        assert_eq!(count(&mut conn, &left), 0);
    }
}

/// The hint about a table that is gone can be followed: it has the name of the table.
#[test]
fn ends_the_capture_of_what_is_gone() {
    let (_database, mut conn) = audited(TABLES);
    for name in NAMES {
        run(&mut conn, &format!("DROP TABLE {name}"));
    }
    let hints = texts(
        &mut conn,
        "SELECT substring(hint FROM 'SELECT .*[)]') AS value FROM threadline.health WHERE \"check\" = 'table_missing'",
    );
    assert_eq!(hints.len(), NAMES.len());
    for hint in hints {
        assert_eq!(text(&mut conn, &hint).as_deref(), Some("true"), "{hint}");
    }
    assert_eq!(
        count(
            &mut conn,
            "threadline.health WHERE \"check\" = 'table_missing'"
        ),
        0
    );
    assert_eq!(count(&mut conn, READING), 0);
    assert!(
        error(
            &mut conn,
            "SELECT threadline.unaudit_table('s.by_enum_that_never_was')"
        )
        .contains("does not exist")
    );
}

/// An enum of a key is replaced by another one of its name, without a refresh in between, and the past is read after it.
#[test]
fn replaces_an_enum() {
    let (_database, mut conn) = audited(TABLES);
    let at = now(&mut conn);
    run(
        &mut conn,
        "ALTER TABLE s.keyless DROP v; UPDATE s.by_enum SET v = 'now';
         ALTER TYPE s.mood RENAME TO mood_old; CREATE TYPE s.mood AS ENUM ('sad', 'glad');
         ALTER TABLE s.by_enum ALTER COLUMN k TYPE s.mood USING k::text::s.mood; DROP TYPE s.mood_old",
    );
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    let then = format!("SELECT v FROM threadline.as_of(NULL::s.by_enum, '{at}', 'sad')");
    assert_eq!(text(&mut conn, &then).as_deref(), Some("then"));
    assert_eq!(
        count(&mut conn, "threadline.versions(NULL::s.by_enum, 'sad')"),
        2
    );
}

/// Attributes of a composite type are added, renamed and dropped as far as PostgreSQL itself lets them be.
#[test]
fn alters_a_composite_type() {
    let (_database, mut conn) = database(
        "CREATE TYPE place AS (x integer, y text); CREATE TABLE t (id integer PRIMARY KEY, p place);
         SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, '(1,a)')",
    );
    for change in [
        "ADD ATTRIBUTE z integer",
        "RENAME ATTRIBUTE y TO w",
        "DROP ATTRIBUTE z",
    ] {
        run(
            &mut conn,
            &format!(
                "ALTER TYPE place {change}; UPDATE t SET p = p; SELECT threadline.refresh_table('t')"
            ),
        );
    }
    assert_eq!(count(&mut conn, "threadline.versions(NULL::t, 1)"), 1);
}

/// A view of the application stands on the public functions, and only on the table that it names itself.
#[test]
fn views_stay() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id integer PRIMARY KEY, v text); CREATE TABLE other (id integer PRIMARY KEY);
         SELECT threadline.audit_table('t'), threadline.audit_table('other'); INSERT INTO t VALUES (1, 'a');
         CREATE VIEW of_t AS SELECT op FROM threadline.versions(NULL::t, 1)",
    );
    run(
        &mut conn,
        "DROP TABLE other; ALTER TABLE t RENAME TO u; SELECT threadline.refresh_audited_tables()",
    );
    assert_eq!(
        text(&mut conn, "SELECT op FROM of_t").as_deref(),
        Some("insert")
    );
    assert!(error(&mut conn, "DROP TABLE u").contains("cannot drop table u"));
    // A key of another type is not taken for this one.
    run(
        &mut conn,
        "ALTER TABLE u DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (v); SELECT threadline.refresh_audited_tables()",
    );
    assert!(error(&mut conn, "SELECT op FROM of_t").starts_with(
        "threadline.versions does not take a key of public.u as (integer): the key is (v)"
    ));
    run(&mut conn, "DROP VIEW of_t; DROP TABLE u");
}

/// A migration is undone and done again: the table comes, is audited, goes, and continues its history.
#[test]
fn migration_redo() {
    let (_database, mut conn) = database("SELECT 1");
    for _ in 0..3 {
        run(
            &mut conn,
            "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (k mood PRIMARY KEY);
             SELECT threadline.audit_table('t'); INSERT INTO t VALUES ('ok'); DROP TABLE t; DROP TYPE mood",
        );
    }
    assert_eq!(
        count(&mut conn, "threadline.changes WHERE table_name = 't'"),
        3
    );
    assert_eq!(count(&mut conn, "threadline.audited_tables"), 1);
}

diesel::table! {
    notes {
        id -> Int4,
        text -> Text,
    }
}

mod of_tenant {
    diesel::table! {
        tenant_1.notes (id) {
            id -> Int4,
            text -> Text,
        }
    }
}

#[derive(Debug, PartialEq, Queryable, Selectable, Audited)]
#[diesel(table_name = notes)]
struct Note {
    id: i32,
    text: String,
}

/// A time that the clock of the server tells.
fn time(conn: &mut PgConnection) -> chrono::DateTime<chrono::Utc> {
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Timestamptz>(
        "clock_timestamp()",
    ))
    .get_result(conn)
    .expect("the server knows the time")
}

/// Where several schemas have a table of one name, a query without the schema reads the past of the one that the
/// `search_path` finds, and never that of another: also where only the others are audited.
#[test]
fn tables_of_one_name() {
    let (_database, mut conn) = database("SELECT 1");
    for schema in ["tenant_1", "tenant_2", "tenant_3"] {
        run(
            &mut conn,
            &format!(
                "CREATE SCHEMA {schema}; CREATE TABLE {schema}.notes (id int PRIMARY KEY, text text NOT NULL)"
            ),
        );
    }
    let read = |conn: &mut PgConnection, at, schema: &str| {
        run(conn, &format!("SET search_path = {schema}"));
        let past: QueryResult<Vec<String>> =
            threadline::as_of(at, notes::table.select(notes::text)).load(conn);
        let history: QueryResult<Vec<Version<Note>>> = Note::history(1).load(conn);
        let row = Note::as_of(1, at).first(conn);
        (
            past.map_err(|error| error.to_string()),
            history.map(|versions| versions.len()).ok(),
            row.ok().and_then(threadline::RowAsOf::found),
        )
    };
    let mut audited = Vec::new();
    for schema in ["tenant_1", "tenant_2"] {
        run(
            &mut conn,
            &format!(
                "SELECT threadline.audit_table('{schema}.notes'); INSERT INTO {schema}.notes VALUES (1, '{schema}')"
            ),
        );
        audited.push(schema);
        let at = time(&mut conn);
        for schema in &audited {
            run(
                &mut conn,
                &format!("UPDATE {schema}.notes SET text = 'later'"),
            );
        }
        for schema in ["tenant_1", "tenant_2", "tenant_3"] {
            let (past, versions, row) = read(&mut conn, at, schema);
            if audited.contains(&schema) {
                let text = past.unwrap();
                assert!(text == [schema] || text == ["later"], "{schema}: {text:?}");
                assert!(versions.is_some_and(|versions| versions >= 2));
                assert_eq!(row.expect("it was there").text, text[0]);
            } else {
                let message =
                    format!("cannot read {schema}.notes as of the past: it is not audited");
                assert_eq!((past, versions, row), (Err(message), None, None));
            }
        }
        for schema in &audited {
            run(
                &mut conn,
                &format!("UPDATE {schema}.notes SET text = '{schema}'"),
            );
        }
    }
    let at = time(&mut conn);
    let of_one: Vec<String> =
        threadline::as_of(at, of_tenant::notes::table.select(of_tenant::notes::text))
            .load(&mut conn)
            .unwrap();
    assert_eq!(of_one, ["tenant_1"]);
    // By hand, and by the wrong name.
    let wrong = format!(
        "SELECT * FROM threadline_internal.\"as_of tenant_1.notes\"(NULL::tenant_2.notes, '{at}')"
    );
    assert!(
        error(&mut conn, &wrong)
            .starts_with("cannot read tenant_2.notes by a function of tenant_1.notes")
    );
    let wrong =
        "SELECT * FROM threadline_internal.\"versions tenant_1.notes\"(NULL::tenant_2.notes, 1)";
    assert!(!error(&mut conn, wrong).is_empty());
}

/// A renamed table, or one whose name was handed on, is refused until the refresh, and read under its new name after it.
#[test]
fn renamed_tables() {
    let (_database, mut conn) = database(
        "CREATE TABLE notes (id int PRIMARY KEY, text text NOT NULL); CREATE TABLE other (id int PRIMARY KEY, text text NOT NULL);
         SELECT threadline.audit_table('notes'), threadline.audit_table('other');
         INSERT INTO notes VALUES (1, 'notes'); INSERT INTO other VALUES (1, 'other')",
    );
    let at = time(&mut conn);
    let read = |conn: &mut PgConnection| {
        let past: QueryResult<String> =
            threadline::as_of(at, notes::table.select(notes::text)).first(conn);
        past.map_err(|error| error.to_string())
    };
    let history = |conn: &mut PgConnection| {
        let versions: QueryResult<Vec<Version<Note>>> = Note::history(1).load(conn);
        versions
            .map(|versions| versions[0].row.text.clone())
            .map_err(|error| error.to_string())
    };
    let refused = "cannot read public.notes as of the past: its name or columns are not those that its capture was defined for";
    assert_eq!(read(&mut conn).as_deref(), Ok("notes"));
    run(
        &mut conn,
        "ALTER TABLE notes RENAME TO x; ALTER TABLE other RENAME TO notes; ALTER TABLE x RENAME TO other",
    );
    // A prepared statement still means the table that it was prepared for.
    let message = read(&mut conn).expect_err("it has another name");
    assert!(message.ends_with("defined for"), "{message}");
    assert_eq!(history(&mut conn), Err(refused.to_owned()));
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    assert_eq!(read(&mut conn).as_deref(), Ok("other"));
    assert_eq!(history(&mut conn).as_deref(), Ok("other"));
    run(
        &mut conn,
        "ALTER TABLE notes RENAME TO renamed; SELECT threadline.refresh_audited_tables()",
    );
    assert!(read(&mut conn).is_err());
    assert_eq!(
        count(
            &mut conn,
            "pg_proc WHERE proname IN ('as_of notes', 'as_of public.notes')"
        ),
        0
    );
    assert_eq!(
        count(
            &mut conn,
            &format!("threadline_internal.\"as_of renamed\"(NULL::renamed, '{at}')")
        ),
        1
    );
    // One of its name that is created anew is none that is audited.
    run(
        &mut conn,
        "DROP TABLE renamed; CREATE TABLE notes (id int PRIMARY KEY, text text NOT NULL)",
    );
    assert_eq!(
        read(&mut conn),
        Err("cannot read public.notes as of the past: it is not audited".to_owned())
    );
}

/// People give keys as literals, numbers and typed values, whatever other tables are audited.
#[test]
fn keys_by_hand() {
    let (_database, mut conn) = audited(TABLES);
    run(
        &mut conn,
        "CREATE TABLE big (id bigint PRIMARY KEY); CREATE TABLE small (id smallint PRIMARY KEY); CREATE TABLE ids (id uuid PRIMARY KEY);
         CREATE TABLE days (day date, id int, PRIMARY KEY (day, id)); CREATE TABLE amounts (id numeric PRIMARY KEY);
         SELECT threadline.audit_table(t::regclass) FROM unnest('{big,small,ids,days,amounts}'::text[]) AS t;
         INSERT INTO big VALUES (7); INSERT INTO small VALUES (7); INSERT INTO days VALUES ('2020-01-02', 7);
         INSERT INTO ids VALUES ('00000000-0000-0000-0000-000000000007'); INSERT INTO amounts VALUES (7.50)",
    );
    for call in [
        "NULL::big, 7",
        "NULL::big, 7::bigint",
        "NULL::big, '7'",
        "NULL::small, 7",
        "NULL::small, 7::smallint",
        "NULL::ids, '00000000-0000-0000-0000-000000000007'",
        "NULL::ids, '00000000-0000-0000-0000-000000000007'::uuid",
        "NULL::days, '2020-01-02', 7",
        "NULL::days, date '2020-01-02', 7",
        "NULL::amounts, 7.5",
        "NULL::s.by_enum, 'sad'",
        "NULL::s.by_domain, 3, 'l'",
        "NULL::s.by_composite, '(1,a)'",
        r#"NULL::s."Odd ""name"", (x) \ y", 7"#,
    ] {
        assert_eq!(
            count(&mut conn, &format!("threadline.versions({call})")),
            1,
            "{call}"
        );
        let at = now(&mut conn);
        let past = call.replacen(", ", &format!(", '{at}', "), 1);
        // The name has a comma.
        let past = past.replace(
            &format!("\"\", '{at}', (x) \\ y\", 7"),
            &format!("\"\", (x) \\ y\", '{at}', 7"),
        );
        assert_eq!(
            count(&mut conn, &format!("threadline.as_of({past})")),
            1,
            "{past}"
        );
        assert_eq!(
            text(
                &mut conn,
                &format!("SELECT state FROM threadline.row_as_of({past})")
            )
            .as_deref(),
            Some("found"),
            "{past}"
        );
    }
    assert!(
        error(&mut conn, "SELECT * FROM threadline.versions(NULL::days, 7)").starts_with(
            "threadline.versions does not take a key of public.days as (integer): the key is (day, id)"
        )
    );
    assert!(
        error(
            &mut conn,
            "SELECT * FROM threadline.versions(NULL::pg_class)"
        )
        .contains("it is not audited")
    );
}
