//! `Model::history`: who changed what and when, as the caller's own structs.

use diesel::prelude::*;
use threadline::prelude::*;
use threadline::{Op, change};

use crate::common::{database, run, text};

diesel::table! {
    users {
        id -> Int4,
        name -> Text,
        email -> Nullable<Text>,
    }
}

diesel::table! {
    blog.comments (post_id, number) {
        post_id -> Int8,
        number -> Int4,
        text -> Text,
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
#[diesel(table_name = users)]
struct User {
    id: i32,
    name: String,
    email: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
#[diesel(table_name = comments, primary_key(post_id, number))]
struct Comment {
    post_id: i64,
    number: i32,
    text: String,
}

const TABLES: &str = "
    CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL, email text);
    CREATE SCHEMA blog;
    CREATE TABLE blog.comments (post_id bigint, number int, text text NOT NULL, PRIMARY KEY (post_id, number));
";

fn audited() -> (threadline_test_support::Database, PgConnection) {
    let (database, mut conn) = database(TABLES);
    threadline::capture::install(&mut conn, &[User::audit_spec(), Comment::audit_spec()])
        .expect("the tables can be audited");
    (database, conn)
}

/// The versions of a row come newest first, each with the row before and after as the model.
#[test]
fn versions_are_models() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users VALUES (7, 'Ada'), (8, 'Bob'); UPDATE users SET name = 'Ada L.' WHERE id = 7; DELETE FROM users WHERE id = 7",
    );
    let versions: Vec<Version<User>> = User::history(7).load(&mut conn).unwrap();
    let ops: Vec<_> = versions.iter().map(|v| v.op).collect();
    assert_eq!(ops, [Op::Delete, Op::Update, Op::Insert]);
    let ada = User {
        id: 7,
        name: "Ada".into(),
        email: None,
    };
    let ada_l = User {
        name: "Ada L.".into(),
        ..ada.clone()
    };
    assert_eq!((&versions[2].row, &versions[2].row_before), (&ada, &None));
    assert_eq!(
        (&versions[1].row, &versions[1].row_before),
        (&ada_l, &Some(ada))
    );
    assert_eq!(
        (&versions[0].row, &versions[0].row_before),
        (&ada_l, &Some(ada_l.clone()))
    );
    assert_eq!(versions[1].changed_fields, ["name"]);
    assert_eq!(versions[1].actor, None);
}

/// Composite keys and tables with a schema of their own work the same.
#[test]
fn composite_keys() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO blog.comments VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'c'); UPDATE blog.comments SET text = 'B' WHERE number = 2",
    );
    let versions: Vec<Version<Comment>> = Comment::history((1_i64, 2))
        .filter(comments::text.eq_any(["b", "B"]))
        .order(change::id.asc())
        .then_order_by(comments::text.desc())
        .load(&mut conn)
        .unwrap();
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[1].row.text, "B");
    assert_eq!(versions[1].row_key.as_deref(), Some("[1, 2]"));
    assert_eq!(versions[1].row_before.as_ref().unwrap().text, "b");
}

/// Conditions, orders, limits and offsets stand on the columns of the model and of the change alike.
#[test]
fn composes_like_a_query() {
    let (_database, mut conn) = audited();
    for name in ["a", "b", "c", "d", "e"] {
        run(
            &mut conn,
            &format!(
                "INSERT INTO users VALUES (1, '{name}') ON CONFLICT (id) DO UPDATE SET name = excluded.name"
            ),
        );
    }
    let names = |versions: Vec<Version<User>>| -> Vec<String> {
        versions.into_iter().map(|v| v.row.name).collect()
    };
    let all = || User::history(1);
    assert_eq!(
        names(all().load(&mut conn).unwrap()),
        ["e", "d", "c", "b", "a"]
    );
    assert_eq!(
        names(all().limit(2).offset(1).load(&mut conn).unwrap()),
        ["d", "c"]
    );
    assert_eq!(
        names(
            all()
                .order(users::name.asc())
                .limit(2)
                .load(&mut conn)
                .unwrap()
        ),
        ["a", "b"]
    );
    let query = all()
        .filter(change::op.eq(Op::Update))
        .filter(users::name.ne("c").and(users::id.eq(1)))
        .filter(change::changed_fields.contains(vec!["name"]))
        .order((change::captured_at.asc(), change::id.asc()));
    assert_eq!(names(query.load(&mut conn).unwrap()), ["b", "d", "e"]);
    let nobody = all().filter(change::actor_ref.is_not_null());
    assert_eq!(names(nobody.load(&mut conn).unwrap()), [""; 0]);
    let first: Version<User> = all().order(change::id.asc()).first(&mut conn).unwrap();
    assert_eq!(first.op, Op::Insert);
    let missing = User::history(2)
        .first::<Version<User>>(&mut conn)
        .optional()
        .unwrap();
    assert_eq!(missing, None);
}

/// The same type with other values runs the same prepared statement; another type does not.
#[test]
fn one_prepared_statement_a_type() {
    let (_database, mut conn) = audited();
    run(&mut conn, "INSERT INTO users VALUES (1, 'a'), (2, 'b')");
    for (id, name) in [(1, "a"), (2, "b"), (1, "a")] {
        let version: Version<User> = User::history(id)
            .filter(users::name.eq(name))
            .limit(id.into())
            .get_result(&mut conn)
            .unwrap();
        assert_eq!(version.row.name, name);
    }
    let versions: Vec<Version<User>> = User::history(1)
        .filter(users::name.ne("a"))
        .load(&mut conn)
        .unwrap();
    assert_eq!(versions, []);
    let statements =
        "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%\"versions users\"%'";
    assert_eq!(text(&mut conn, statements).unwrap(), "2");
}

/// The JSON images can be read where the rows no longer can: their types have moved on.
#[test]
fn images_of_rows_that_moved_on() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, 'Ada', 'not a number'); UPDATE users SET email = NULL;
         ALTER TABLE users ALTER COLUMN email TYPE integer USING 0;
         SELECT threadline.refresh_audited_tables()",
    );
    let error = User::history(1)
        .load::<Version<User>>(&mut conn)
        .unwrap_err();
    assert!(error.to_string().contains("column email"), "{error}");
    let images: Vec<(Op, serde_json::Value, Option<serde_json::Value>)> = User::history(1)
        .filter(change::op.eq(Op::Update))
        .order(change::id.asc())
        .select((change::op, change::row, change::changed_from))
        .filter(change::captured_at.le(diesel::dsl::now))
        .load(&mut conn)
        .unwrap();
    let [(Op::Update, row, Some(changed_from))] = &images[..] else {
        panic!("{images:?}");
    };
    assert_eq!(*changed_from, serde_json::json!({"email": "not a number"}));
    assert_eq!(
        (&row["name"], &row["email"]["threadline"]),
        (&"Ada".into(), &"not recorded".into())
    );
}

/// A table may have no primary key in the database: all its changes can be read, no row's history.
#[test]
fn without_a_key() {
    let (_database, mut conn) =
        database("CREATE TABLE users (id int, name text NOT NULL, email text)");
    run(&mut conn, "SELECT threadline.audit_table('users')");
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, 'a'), (1, 'a'); DELETE FROM users",
    );
    let versions: Vec<Version<User>> = User::history_all().load(&mut conn).unwrap();
    assert_eq!(versions.len(), 4);
    assert_eq!(versions[0].row_key, None);
    let error = User::history(1)
        .load::<Version<User>>(&mut conn)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("function threadline_internal.versions users(users, integer) does not exist"),
        "{error}"
    );
    let error = threadline::capture::install(&mut conn, &[User::audit_spec()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the model of "users" has the primary key (id), but the table has ()"#
    );
}

/// A row before the change that the model cannot hold is an error, never no row.
#[test]
fn unexpected_null_before() {
    let (_database, mut conn) = database(
        "CREATE TABLE users (id int PRIMARY KEY, name text, email text); SELECT threadline.audit_table('users')",
    );
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, NULL); UPDATE users SET name = 'named'",
    );
    let error = User::history(1)
        .filter(change::op.eq(Op::Update))
        .load::<Version<User>>(&mut conn)
        .unwrap_err();
    assert!(
        error.to_string().contains("the row before change"),
        "{error}"
    );
}

/// The history of a row is read through the index of its key, at any size of the audit log.
#[test]
fn reads_the_key_index() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 20000) AS n;
         INSERT INTO blog.comments SELECT n, 1, 'comment' FROM generate_series(1, 20000) AS n;
         ANALYZE threadline.audit_changes",
    );
    let month = text(&mut conn, "to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')").unwrap();
    for (query, key) in [
        (
            "\"versions users\"(NULL::users, 4711)",
            "key_integer = 4711",
        ),
        (
            "\"versions blog.comments\"(NULL::blog.comments, 4711::bigint, 1)",
            "key_text = ",
        ),
    ] {
        let plan: Vec<String> = diesel::dsl::sql::<diesel::sql_types::Text>(&format!(
            "EXPLAIN (COSTS OFF) SELECT op, \"row\" FROM threadline_internal.{query} ORDER BY id DESC LIMIT 5"
        ))
        .load(&mut conn)
        .unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("Index Cond") && plan.contains(key), "{plan}");
        // The partitions of other months are empty, and a sequential scan of those is right.
        assert!(
            !plan.contains(&format!("Seq Scan on audit_changes_{month}")),
            "{plan}"
        );
    }
}

/// There is no row before an insert, not even for a model to which a row of nulls is a row.
#[test]
fn nothing_before_an_insert() {
    #[derive(Debug, PartialEq, Queryable, Selectable, Audited)]
    #[diesel(table_name = users)]
    struct Contact {
        email: Option<String>,
    }
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, 'Ada'); UPDATE users SET name = 'Ada L.'",
    );
    let versions: Vec<Version<Contact>> = Contact::history(1).load(&mut conn).unwrap();
    let before: Vec<_> = versions.into_iter().map(|v| v.row_before).collect();
    assert_eq!(before, [Some(Contact { email: None }), None]);
}
