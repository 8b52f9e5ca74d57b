//! The SQL that is generated, as golden text: by the database for an audited table, and by Diesel for a history.
//!
//! After a change that is meant: `INSTA_UPDATE=always cargo test --all-features --test it generated_sql`, and read the
//! difference.

use diesel::debug_query;
use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::QueryFragment;
use threadline::prelude::*;
use threadline::{Granularity, Op, TableSpec, change};
use threadline_test_support::Database;

use crate::common::{database, run, text};

diesel::table! {
    users {
        id -> Int8,
        name -> Text,
        email -> Nullable<Text>,
        password_hash -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(users, comments);

diesel::table! {
    blog.comments (page, number) {
        page -> Int8,
        number -> Int4,
        content -> Text,
    }
}

#[derive(Queryable, Selectable, Audited)]
#[diesel(table_name = users)]
#[audited(mask(email), exclude(password_hash))]
#[expect(dead_code, reason = "only its query is looked at")]
struct User {
    id: i64,
    name: String,
    email: Option<String>,
}

#[derive(Queryable, Selectable, Audited)]
#[diesel(table_name = comments, primary_key(page, number))]
#[expect(dead_code, reason = "only its query is looked at")]
struct Comment {
    page: i64,
    number: i32,
    content: String,
}

const TABLES: &str = "
    CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, email text, password_hash text NOT NULL);
    CREATE SCHEMA blog;
    CREATE TABLE blog.comments (page bigint, number int, content text NOT NULL, PRIMARY KEY (page, number));
";

/// The first audited table, which so has the id 1.
fn audited(spec: &TableSpec) -> (Database, PgConnection) {
    let (database, mut conn) = database(TABLES);
    run(&mut conn, &spec.up_sql());
    (database, conn)
}

#[track_caller]
fn function(conn: &mut PgConnection, signature: &str) -> String {
    // The number of the table, and the hash of its columns, are others in every database.
    let replacements = [
        (r"TG_RELID <> [0-9]+", "TG_RELID <> 16384"),
        (
            r"present_layout\(''[0-9]+''\) = ''[0-9a-f]+''",
            "present_layout(''16384'') = ''hash''",
        ),
        (r"is_current AND [0-9]+ IN", "is_current AND 16384 IN"),
    ];
    let definition = replacements.iter().fold(
        format!("pg_get_functiondef('threadline_internal.{signature}'::regprocedure)"),
        |sql, (pattern, replacement)| {
            format!("regexp_replace({sql}, '{pattern}', '{replacement}', 'g')")
        },
    );
    text(conn, &definition).expect("the function exists")
}

/// The query as it is sent, but on several lines, and its values.
fn query(query: &impl QueryFragment<Pg>) -> String {
    let clauses = [
        " FROM ",
        " CROSS JOIN ",
        " WHERE ",
        " ORDER BY ",
        " LIMIT ",
        " -- binds",
    ];
    let sql = debug_query::<Pg, _>(query).to_string();
    clauses.iter().fold(sql, |sql, clause| {
        sql.replace(clause, &format!("\n{}", &clause[1..]))
    })
}

/// The text of `tests/it/snapshots/<name>.snap`.
macro_rules! assert_golden {
    ($name:expr, $text:expr) => {
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

/// Capture of a statement: one function an event, masks and exclusions before anything is stored.
#[test]
fn capture_of_statements() {
    let (_database, mut conn) = audited(&User::audit_spec());
    assert_golden!("capture_insert", function(&mut conn, "capture_1_insert()"));
    assert_golden!("capture_update", function(&mut conn, "capture_1_update()"));
    assert_golden!("capture_delete", function(&mut conn, "capture_1_delete()"));
    assert_golden!(
        "capture_truncate",
        function(&mut conn, "capture_1_truncate()")
    );
}

/// Capture of a row, under a composite key.
#[test]
fn capture_of_rows() {
    let (_database, mut conn) = audited(&Comment::audit_spec().granularity(Granularity::Row));
    assert_golden!(
        "capture_update_of_row",
        function(&mut conn, "capture_1_update()")
    );
}

/// The triggers of either granularity; capture comes before what the application's own triggers do in turn.
#[test]
fn triggers() {
    let (_database, mut conn) = audited(&User::audit_spec());
    run(
        &mut conn,
        &Comment::audit_spec().granularity(Granularity::Row).up_sql(),
    );
    let triggers =
        "SELECT string_agg(pg_get_triggerdef(oid), E'\n' ORDER BY tgrelid::regclass::text, tgname)
                      FROM pg_trigger WHERE tgname LIKE '!threadline%'";
    assert_golden!(
        "triggers",
        text(&mut conn, triggers).expect("there are triggers")
    );
}

/// What reads a table's record: all of it, or that of one row, under a key of its own type.
#[test]
fn reading_functions() {
    let (_database, mut conn) = audited(&User::audit_spec());
    assert_golden!(
        "versions_of_row",
        function(&mut conn, "versions_1(anyelement, bigint)")
    );
    let (_database, mut conn) = audited(&Comment::audit_spec());
    assert_golden!(
        "row_key_of_composite_key",
        function(&mut conn, "row_key_1(anyelement)")
    );
    assert_golden!(
        "versions_of_row_with_composite_key",
        function(&mut conn, "versions_1(anyelement, bigint, integer)")
    );
}

/// What reads the past of a table: rows and old images, by key or, without one, by count; one row; and what brings it back.
#[test]
fn past_functions() {
    let (_database, mut conn) = audited(&User::audit_spec());
    for (name, signature) in [
        ("as_of", "as_of_1(anyelement, timestamptz)"),
        ("row_of", "row_of_1(anyelement, jsonb, bigint)"),
        ("row_of_row", "row_of_1(anyelement, jsonb, bigint, bigint)"),
        ("row_as_of", "row_as_of_1(anyelement, timestamptz, bigint)"),
        (
            "restore",
            "restore_1(anyelement, uuid, timestamptz, bigint, bigint)",
        ),
    ] {
        assert_golden!(name, function(&mut conn, signature));
    }
    let (_database, mut conn) = audited(&Comment::audit_spec());
    assert_golden!(
        "as_of_with_composite_key",
        function(&mut conn, "as_of_1(anyelement, timestamptz)")
    );
    let (_database, mut conn) =
        database("CREATE TABLE t (a int NOT NULL, b text); SELECT threadline.audit_table('t')");
    assert_golden!(
        "as_of_without_key",
        function(&mut conn, "as_of_1(anyelement, timestamptz)")
    );
}

/// A specification is one statement for a migration, and its opposite.
#[test]
fn specifications() {
    let specs = [
        TableSpec::new(users::table),
        User::audit_spec(),
        Comment::audit_spec().granularity(Granularity::Row),
        TableSpec::new(users::table).mask(["it's", r"a\b"]),
    ];
    let sql = specs.map(|spec| format!("{}\n{}", spec.up_sql(), spec.down_sql()));
    assert_golden!("specifications", sql.join("\n\n"));
}

/// A history is one query, with the model's columns under the names that Diesel gives them.
#[test]
fn history() {
    let of_row = User::history(7)
        .filter(users::name.like("A%").and(change::op.ne(Op::Delete)))
        .order((change::captured_at.asc(), users::name.desc()))
        .limit(10);
    assert_golden!("history_of_row", query(&of_row));

    let images = User::history(7)
        .filter(change::actor_ref.is_not_null())
        .select((change::id, change::data_after));
    assert_golden!("history_of_images", query(&images));

    // The table keeps its schema, and the columns refer to the row of the past and not to the table.
    let of_all = Comment::history_all().filter(comments::content.eq("B"));
    assert_golden!("history_of_table_with_schema", query(&of_all));
}

/// A timeline of a model and a story of a row make the rows as a history does.
#[test]
fn timelines() {
    assert_golden!("timeline", query(&threadline::timeline().limit(10)));
    let of_model = Comment::timeline().op(Op::Delete);
    assert_golden!("timeline_of_model", query(&of_model));
    let story = User::story(7).filter(users::name.like("A%"));
    assert_golden!("story_of_row", query(&story));
    assert_golden!("transactions", query(&threadline::transactions()));
    assert_golden!("actions", query(&threadline::actions()));
}

/// What is said of the database itself is a function each, and its columns by name.
#[test]
fn reports() {
    let reports = [
        query(&threadline::continuity()),
        query(&threadline::coverage()),
        query(&threadline::health()),
        query(&threadline::storage_usage()),
        query(&threadline::capture_activity()),
    ];
    assert_golden!("reports", reports.join("\n\n"));
}

/// A query of the past is the query of the present, with each table under its name, or one of ours if it has a schema.
#[test]
fn as_of() {
    let then = chrono::DateTime::UNIX_EPOCH;
    let row = User::as_of(7, then);
    assert_golden!("row_as_of_query", query(&row));
    let row = Comment::as_of((7, 1), then);
    assert_golden!("row_as_of_query_with_schema", query(&row));

    let joined = users::table
        .inner_join(comments::table.on(comments::page.eq(users::id)))
        .filter(users::name.eq("Ada"))
        .select((users::name, comments::content));
    let joined = threadline::as_of(then, joined)
        .filter(comments::number.gt(1))
        .limit(3);
    assert_golden!("as_of_query", query(&joined));
    let live = threadline::as_of_transaction(uuid::Uuid::nil(), users::table.select(users::id))
        .live(users::table);
    assert_golden!("as_of_query_live", query(&live));
}

/// A template is read once, and only for names: what a value holds stays as it is, like other braces. A name without a
/// value is an error.
#[test]
fn templates() {
    let (_database, mut conn) = audited(&Comment::audit_spec());
    let mut render = |template: &str, names: &str| {
        let call =
            format!("threadline_internal.render($template${template}$template$, '{names}'::jsonb)");
        text(&mut conn, &call).expect("a template gives a text")
    };
    assert_eq!(
        render(
            "{a}{b}, '{}', '{a,b}', {A}, {8}, %s {a}}",
            r#"{"a": "{b}", "b": "\\1 &"}"#
        ),
        r"{b}\1 &, '{}', '{a,b}', {A}, {8}, %s {b}}"
    );
    assert_eq!(render("", "{}"), "");
    assert_eq!(render("[{a}]", r#"{"a": null}"#), "[]");
    let unknown = diesel::sql_query("SELECT threadline_internal.render('{a} {b}', '{\"a\": 1}')")
        .execute(&mut conn)
        .expect_err("b is not given");
    assert_eq!(
        unknown.to_string(),
        "a template names {b}, which is not given"
    );
}

/// A function that reads or writes keys or images has all the settings that their text depends on, or none.
#[test]
fn canonical_settings() {
    let (_database, mut conn) = audited(&Comment::audit_spec());
    let incomplete = "SELECT coalesce(string_agg(p.oid::regprocedure::text, ', '), 'none') FROM pg_proc AS p
                       WHERE p.pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
                         AND array_to_string(p.proconfig, ' ') LIKE '%lc_monetary%'
                         AND NOT p.proconfig @> threadline_internal.canonical_settings()";
    assert_eq!(text(&mut conn, incomplete).as_deref(), Some("none"));
    let complete = "SELECT count(*)::text FROM pg_proc WHERE proconfig @> threadline_internal.canonical_settings()";
    let complete = text(&mut conn, complete).and_then(|count| count.parse::<u32>().ok());
    assert!(complete.is_some_and(|count| count > 5), "{complete:?}");
}
