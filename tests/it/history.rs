//! `Model::history`: who changed what and when, as the caller's own structs.

use diesel::prelude::*;
use threadline::prelude::*;
use threadline::{Op, change};

use crate::common::{database, run};

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

const TABLES: &str = r#"
    CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL, email text);
    CREATE SCHEMA blog;
    CREATE TABLE blog.comments (post_id bigint, number int, text text NOT NULL, PRIMARY KEY (post_id, number));
"#;

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
    assert_eq!(
        (&versions[2].record, &versions[2].record_before),
        (&ada, &None)
    );
    assert_eq!(
        (&versions[1].record, &versions[1].record_before),
        (&ada_l, &Some(ada))
    );
    assert_eq!(
        (&versions[0].record, &versions[0].record_before),
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
    assert_eq!(versions[1].record.text, "B");
    assert_eq!(versions[1].row_key.as_deref(), Some("[1, 2]"));
    assert_eq!(versions[1].record_before.as_ref().unwrap().text, "b");
}
