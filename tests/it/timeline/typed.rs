//! The changes of one table with its rows as the model: `User::timeline()` and `User::story(key)`.

use diesel::prelude::*;
use threadline::prelude::*;
use threadline::{Op, TimelineEntry, change};
use threadline_test_support::Database;

use crate::common::{database, run};

diesel::table! {
    users {
        id -> Int4,
        name -> Text,
        email -> Nullable<Text>,
        age -> Nullable<Int4>,
    }
}

diesel::table! {
    blog.comments (page, number) {
        page -> Int8,
        number -> Int4,
        content -> Text,
    }
}

#[derive(Debug, PartialEq, Queryable, Selectable, Audited)]
#[audited(mask(email))]
struct User {
    id: i32,
    #[diesel(embed)]
    profile: Profile,
}

/// A part of the table.
#[derive(Debug, PartialEq, Queryable, Selectable)]
#[diesel(table_name = users)]
struct Profile {
    name: String,
    email: Option<String>,
}

#[derive(Debug, PartialEq, Queryable, Selectable, Audited)]
#[diesel(table_name = comments, primary_key(page, number))]
struct Comment {
    page: i64,
    number: i32,
    content: String,
}

fn audited() -> (Database, PgConnection) {
    let (database, mut conn) = database(
        "CREATE TABLE users (id int PRIMARY KEY, name text, email text, age int); CREATE SCHEMA blog;
         CREATE TABLE blog.comments (page bigint, number int, content text NOT NULL, PRIMARY KEY (page, number))",
    );
    threadline::capture::install(&mut conn, &[User::audit_spec(), Comment::audit_spec()]).unwrap();
    (database, conn)
}

fn user(id: i32, name: &str, email: Option<&str>) -> User {
    User {
        id,
        profile: Profile {
            name: name.to_owned(),
            email: email.map(ToOwned::to_owned),
        },
    }
}

const WRITES: &str = "
    INSERT INTO users VALUES (1, 'Ada', 'ada@example.com', 30);
    INSERT INTO blog.comments VALUES (1, 1, 'first'); UPDATE blog.comments SET content = 'First';
    UPDATE users SET name = 'Ada L.'; INSERT INTO users VALUES (2, 'Bob'); DELETE FROM users WHERE id = 1";

/// The rows before and after are the model, masked where it says so; the filters and pages are those of every timeline.
#[test]
fn rows_are_models() {
    let (_database, mut conn) = audited();
    let by = ActorRef::user("1");
    conn.audited_transaction(&AuditContext::new(by.clone()), |conn| {
        run(conn, WRITES);
        NewAction::new("users.tidied").record(conn)
    })
    .unwrap();
    let masked = Some("[REDACTED]");
    let all: Vec<TimelineEntry<User>> = User::timeline().load(&mut conn).unwrap();
    let told: Vec<_> = all
        .iter()
        .map(|e| (e.op, &e.row, e.row_before.as_ref()))
        .collect();
    let (ada, ada_l) = (user(1, "Ada", masked), user(1, "Ada L.", masked));
    assert_eq!(
        told,
        [
            (Op::Delete, &ada_l, Some(&ada_l)),
            (Op::Insert, &user(2, "Bob", masked), None),
            (Op::Update, &ada_l, Some(&ada)),
            (Op::Insert, &ada, None),
        ]
    );
    assert_eq!(
        (all[0].table_schema.as_str(), all[0].table_name.as_str()),
        ("public", "users")
    );
    assert_eq!(all[0].actions[0].name, "users.tidied");
    assert_eq!(all[0].actions[0].transaction_id, all[0].transaction_id);

    let of_ada = User::timeline().row_key("1").actor(&by).limit(2);
    let page: Vec<TimelineEntry<User>> = of_ada.clone().load(&mut conn).unwrap();
    let next: Vec<TimelineEntry<User>> = of_ada
        .clone()
        .before(page[1].cursor())
        .load(&mut conn)
        .unwrap();
    assert_eq!(
        [&page[0], &page[1], &next[0]].map(|e| e.op),
        [Op::Delete, Op::Update, Op::Insert]
    );
    assert_eq!(next.len(), 1);
    assert_eq!(of_ada.count().get_result(&mut conn), Ok(3_i64));
    assert_eq!(
        User::timeline()
            .column("name")
            .op(Op::Update)
            .count()
            .get_result(&mut conn),
        Ok(1_i64)
    );

    let comments: Vec<TimelineEntry<Comment>> = Comment::timeline().load(&mut conn).unwrap();
    assert_eq!(comments[0].table_schema, "blog");
    assert_eq!(comments[0].row_before.as_ref().unwrap().content, "first");
}

/// A row that the model cannot hold is an error, after the change and before it, and never an absent row.
#[test]
fn what_the_model_cannot_hold() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, NULL); UPDATE users SET name = 'Ada'",
    );
    let updates = || User::timeline().op(Op::Update);
    let error = updates()
        .load::<TimelineEntry<User>>(&mut conn)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has no value for a column that the model needs"),
        "{error}"
    );
    let error = User::timeline()
        .op(Op::Insert)
        .load::<TimelineEntry<User>>(&mut conn)
        .unwrap_err();
    assert!(error.to_string().contains("Unexpected null"), "{error}");
    let error = User::story(1)
        .load::<TimelineEntry<User>>(&mut conn)
        .unwrap_err();
    assert!(matches!(
        error,
        diesel::result::Error::DeserializationError(_)
    ));
}

/// A story is the history of one row with the actions of each transaction; it is filtered, ordered and limited like one.
#[test]
fn stories() {
    let (_database, mut conn) = audited();
    let ctx = AuditContext::new(ActorRef::user("1"));
    for (write, actions) in [
        (
            "INSERT INTO users VALUES (1, 'Ada'), (2, 'Bob')",
            &["user.invited", "user.greeted"][..],
        ),
        (
            "UPDATE users SET name = name || '!'; UPDATE users SET age = 1",
            &["user.renamed"],
        ),
        ("DELETE FROM users WHERE id = 1", &[]),
    ] {
        conn.audited_transaction(&ctx, |conn| {
            run(conn, write);
            actions
                .iter()
                .try_for_each(|name| NewAction::new(*name).record(conn).map(drop))
        })
        .unwrap();
    }
    let told = |story: Vec<TimelineEntry<User>>| -> Vec<String> {
        let mut told = Vec::new();
        for of_one in story.chunk_by(|a, b| a.transaction_id == b.transaction_id) {
            told.extend(of_one[0].actions.iter().map(|action| action.name.clone()));
            told.extend(
                of_one
                    .iter()
                    .map(|e| format!("{} {}", e.op, e.row.profile.name)),
            );
        }
        told
    };
    assert_eq!(
        told(User::story(1).load(&mut conn).unwrap()),
        [
            "delete Ada!",
            "user.renamed",
            "update Ada!",
            "update Ada!",
            "user.invited",
            "user.greeted",
            "insert Ada"
        ]
    );
    let oldest = User::history(1)
        .filter(users::name.eq("Ada!"))
        .with_actions()
        .filter(change::op.eq(Op::Update))
        .order(change::id.asc())
        .limit(1);
    let oldest: Vec<TimelineEntry<User>> = oldest.load(&mut conn).unwrap();
    assert_eq!(oldest.len(), 1);
    assert_eq!(oldest[0].changed_fields, ["name"]);
    assert_eq!(
        (
            oldest[0].table_schema.as_str(),
            oldest[0].table_name.as_str()
        ),
        ("public", "users")
    );
    assert_eq!(oldest[0].row_before.as_ref().unwrap().profile.name, "Ada");

    run(
        &mut conn,
        "INSERT INTO blog.comments VALUES (1, 1, 'first')",
    );
    let of_all: Vec<TimelineEntry<Comment>> = Comment::history_all()
        .with_actions()
        .load(&mut conn)
        .unwrap();
    assert_eq!(
        (
            of_all[0].table_schema.as_str(),
            of_all[0].table_name.as_str()
        ),
        ("blog", "comments")
    );
    let first: TimelineEntry<Comment> = Comment::story((1_i64, 1)).first(&mut conn).unwrap();
    assert_eq!(first.row.content, "first");
}

/// The same queries, run by diesel-async.
#[tokio::test]
async fn asynchronous() {
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

    let (database, mut conn) = audited();
    run(&mut conn, WRITES);
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let page: Vec<TimelineEntry<User>> = RunQueryDsl::load(User::timeline().limit(1), &mut conn)
        .await
        .unwrap();
    assert_eq!(page[0].row.profile.name, "Ada L.");
    let story: Vec<TimelineEntry<User>> =
        RunQueryDsl::load(User::story(1), &mut conn).await.unwrap();
    assert_eq!(story.len(), 3);
}
