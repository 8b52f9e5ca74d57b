//! Time travel: one row, any query, and always a state the database really was in.

mod asynchronous;
mod bank;
mod columns;
mod conversions;
mod cost;
mod defaults;
mod keys;
mod masked;
mod migrations;
mod model;
mod moments;
mod not_recorded;
mod pgbench;
mod queries;
mod refused;
mod restore;
mod rows;
mod walk;

use chrono::{DateTime, Utc};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use threadline::prelude::*;
use threadline_test_support::Database;

use crate::common::{database, run};

diesel::table! {
    users {
        id -> Int4,
        name -> Text,
        email -> Nullable<Text>,
    }
}

diesel::table! {
    posts {
        id -> Int8,
        user_id -> Int4,
        title -> Text,
        likes -> Int4,
    }
}

diesel::table! {
    blog.comments (post_id, number) {
        post_id -> Int8,
        number -> Int4,
        text -> Text,
    }
}

diesel::table! {
    #[sql_name = "Odd \"names\""]
    odd_names (key) {
        #[sql_name = "The Key"]
        key -> Text,
        #[sql_name = "from"]
        value -> Nullable<Text>,
    }
}

diesel::table! {
    countries {
        id -> Int4,
        name -> Text,
    }
}

diesel::joinable!(posts -> users (user_id));
diesel::joinable!(comments -> posts (post_id));
diesel::allow_tables_to_appear_in_same_query!(users, posts, comments, odd_names, countries);

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Identifiable, Audited)]
struct User {
    id: i32,
    name: String,
    email: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Identifiable, Associations, Audited)]
#[diesel(belongs_to(User))]
struct Post {
    id: i64,
    user_id: i32,
    title: String,
    likes: i32,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
#[diesel(table_name = comments, primary_key(post_id, number))]
struct Comment {
    post_id: i64,
    number: i32,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
#[diesel(table_name = odd_names, primary_key(key))]
struct Odd {
    key: String,
    value: Option<String>,
}

const TABLES: &str = r#"
    CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email text);
    CREATE TABLE posts (id bigint PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE, title text NOT NULL,
                        likes int NOT NULL DEFAULT 0);
    CREATE SCHEMA blog;
    CREATE TABLE blog.comments (post_id bigint, number int, text text NOT NULL, PRIMARY KEY (post_id, number));
    CREATE TABLE "Odd ""names""" ("The Key" text PRIMARY KEY, "from" text);
    CREATE TABLE countries (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO countries VALUES (1, 'Ada''s country');
"#;

/// What the tables hold at first.
const BEFORE: &str = r#"
    INSERT INTO users VALUES (1, 'Ada', 'ada@example.com'), (2, 'Bob', NULL), (3, 'Cyd', 'cyd@example.com');
    INSERT INTO posts VALUES (10, 1, 'Engines', 5), (11, 1, 'Notes', 0), (12, 2, 'Bricks', 7), (13, 3, 'Notes', 1);
    INSERT INTO blog.comments VALUES (10, 1, 'first'), (10, 2, 'second'), (12, 1, 'first');
    INSERT INTO "Odd ""names""" VALUES ('a', 'x'), ('b', NULL), ('ä', 'ü');
"#;

/// Every kind of change to every table.
const LATER: &str = r#"
    UPDATE users SET name = 'Ada L.' WHERE id = 1; DELETE FROM users WHERE id = 2; INSERT INTO users VALUES (4, 'Dan'), (5, 'Eve');
    UPDATE posts SET title = 'New', likes = 100 WHERE id = 10; UPDATE posts SET id = 99 WHERE id = 11;
    INSERT INTO posts VALUES (14, 4, 'Notes', 3);
    UPDATE blog.comments SET number = 3 WHERE number = 2; UPDATE blog.comments SET text = 'FIRST' WHERE post_id = 12;
    INSERT INTO blog.comments VALUES (14, 1, 'new');
    TRUNCATE "Odd ""names"""; INSERT INTO "Odd ""names""" VALUES ('a', 'y');
"#;

fn audited() -> (Database, PgConnection) {
    let (database, mut conn) = database(TABLES);
    let specs = [
        User::audit_spec(),
        Post::audit_spec(),
        Comment::audit_spec(),
        Odd::audit_spec(),
    ];
    threadline::capture::install(&mut conn, &specs).expect("the tables can be audited");
    (database, conn)
}

/// Whether PostgreSQL says that a table is no longer what its reading function was made for, before that function says so.
fn says_altered(message: &str) -> bool {
    message.ends_with("does not exist")
        || message.ends_with("cannot be matched")
        || message.starts_with("cannot cast type record to ")
        || message.starts_with("return type mismatch in function")
}

/// The time by the clock of the server, which is that of the audit log.
fn now(conn: &mut PgConnection) -> DateTime<Utc> {
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Timestamptz>(
        "clock_timestamp()",
    ))
    .get_result(conn)
    .expect("the server knows the time")
}

/// Tables as they were `BEFORE`, the time of that, and what they became `LATER`.
fn changed() -> (Database, PgConnection, DateTime<Utc>) {
    let (database, mut conn) = audited();
    run(&mut conn, BEFORE);
    let before = now(&mut conn);
    run(&mut conn, LATER);
    (database, conn, before)
}
