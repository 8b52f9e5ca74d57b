//! `Model::as_of`: one row, as it was.

use diesel::prelude::*;
use threadline::{Error, Op};

use super::*;
use crate::common::text;

fn ada(name: &str) -> User {
    User {
        id: 1,
        name: name.to_owned(),
        email: Some("ada@example.com".to_owned()),
    }
}

fn as_of<M>(
    conn: &mut PgConnection,
    query: impl diesel::query_dsl::LoadQuery<'static, PgConnection, RowAsOf<M>>,
) -> RowAsOf<M> {
    query.get_result(conn).expect("the row can be read")
}

/// A row is found as it was before, between and after its changes, whether or not it has changed since.
#[test]
fn found() {
    let (_database, mut conn, before) = changed();
    let after = now(&mut conn);
    assert_eq!(
        as_of(&mut conn, User::as_of(1, before)),
        RowAsOf::Found(ada("Ada"))
    );
    assert_eq!(
        as_of(&mut conn, User::as_of(1, after)),
        RowAsOf::Found(ada("Ada L."))
    );
    let untouched = Post {
        id: 12,
        user_id: 2,
        title: "Bricks".to_owned(),
        likes: 7,
    };
    assert_eq!(
        as_of(&mut conn, Post::as_of(12, before)),
        RowAsOf::Found(untouched)
    );
    let comment: RowAsOf<Comment> = Comment::as_of((10_i64, 2), before)
        .first(&mut conn)
        .unwrap();
    assert_eq!(comment.into_result().unwrap().text, "second");
    let odd: RowAsOf<Odd> = Odd::as_of("ä", before).first(&mut conn).unwrap();
    assert_eq!(odd.found().unwrap().value.as_deref(), Some("ü"));
}

/// A row that was gone says by whom and when; one that took another key, where to.
#[test]
fn deleted() {
    let (_database, mut conn, _) = changed();
    let ctx = AuditContext::new(ActorRef::admin("eve"));
    conn.audited_transaction(&ctx, |conn| {
        diesel::delete(users::table.find(3)).execute(conn)
    })
    .unwrap();
    let after = now(&mut conn);
    let RowAsOf::Deleted(change) = as_of(&mut conn, User::as_of(3, after)) else {
        panic!("user 3 is gone")
    };
    assert_eq!(
        (change.op, &change.actor),
        (Op::Delete, &Some(ActorRef::admin("eve")))
    );
    assert_eq!(change.row_key.as_deref(), Some("3"));
    assert!(change.captured_at < after);
    let RowAsOf::Deleted(change) = as_of(&mut conn, Post::as_of(11, after)) else {
        panic!("post 11 is 99 now")
    };
    assert_eq!(change.moved_key.as_deref(), Some("99"));
    let RowAsOf::Deleted(change) = as_of(&mut conn, Odd::as_of("ä", after)) else {
        panic!("ä is gone")
    };
    assert_eq!(change.op, Op::Truncate);
    let RowAsOf::Deleted(change) = as_of(&mut conn, Comment::as_of((10, 2), after)) else {
        panic!("it is number 3")
    };
    assert_eq!(change.moved_key.as_deref(), Some("[10, 3]"));
    let error = as_of(&mut conn, User::as_of(3, after))
        .into_result()
        .unwrap_err();
    assert!(
        matches!(error, Error::NotFound(_)) && error.to_string().contains("it had been deleted at"),
        "{error}"
    );
}

/// A row that comes later, and one that never does, were not there yet.
#[test]
fn not_yet() {
    let (_database, mut conn, before) = changed();
    assert_eq!(
        as_of(&mut conn, User::as_of(4, before)),
        RowAsOf::NotCreated
    );
    assert_eq!(
        as_of(&mut conn, Post::as_of(99, before)),
        RowAsOf::NotCreated
    );
    assert_eq!(
        as_of(&mut conn, User::as_of(77, before)),
        RowAsOf::NotCreated
    );
    assert_eq!(as_of(&mut conn, User::as_of(77, before)).found(), None);
}

/// Rows that were there before capture are right from its beginning on, and before that nothing is claimed of any row.
#[test]
fn before_history() {
    let (_database, mut conn) = database(TABLES);
    run(&mut conn, BEFORE);
    let before = now(&mut conn);
    threadline::capture::install(&mut conn, &[User::audit_spec()]).unwrap();
    let begun = now(&mut conn);
    run(&mut conn, LATER);
    let since = text(
        &mut conn,
        "SELECT to_json(capture_since) #>> '{}' FROM threadline.audited_tables",
    )
    .unwrap();
    let since: DateTime<Utc> = since.parse().unwrap();
    for at in [since, begun] {
        assert_eq!(
            as_of(&mut conn, User::as_of(1, at)),
            RowAsOf::Found(ada("Ada"))
        );
        assert_eq!(
            as_of(&mut conn, User::as_of(2, at))
                .into_result()
                .unwrap()
                .name,
            "Bob"
        );
        assert_eq!(as_of(&mut conn, User::as_of(4, at)), RowAsOf::NotCreated);
        let all: Vec<User> = threadline::as_of(at, users::table.order(users::id))
            .load(&mut conn)
            .unwrap();
        assert_eq!(all.len(), 3);
    }
    for id in [1, 2, 4, 77] {
        assert_eq!(
            as_of(&mut conn, User::as_of(id, before)),
            RowAsOf::BeforeHistory { since }
        );
    }
    let just_before = since - chrono::TimeDelta::microseconds(1);
    let error = threadline::as_of(just_before, users::table)
        .load::<User>(&mut conn)
        .unwrap_err();
    assert!(
        error.to_string().contains("cannot read public.users as of")
            && error.to_string().contains("its history begins at"),
        "{error}"
    );
    let error = as_of(&mut conn, User::as_of(1, before))
        .into_result()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the history of its table begins later"),
        "{error}"
    );
}

/// When a row was not captured for a while, its history begins anew: no state from before the gap is passed off as a
/// later one.
#[test]
fn gap_in_capture() {
    let (_database, mut conn, before) = changed();
    run(
        &mut conn,
        "SELECT threadline.unaudit_table('users'); UPDATE users SET name = 'unseen' WHERE id = 1; DELETE FROM users WHERE id = 3;
         SELECT threadline.audit_table('users')",
    );
    let after = now(&mut conn);
    run(&mut conn, "UPDATE users SET name = 'seen' WHERE id = 1");
    assert_eq!(
        as_of(&mut conn, User::as_of(1, after)),
        RowAsOf::Found(ada("unseen"))
    );
    assert_eq!(as_of(&mut conn, User::as_of(3, after)), RowAsOf::NotCreated);
    assert!(matches!(
        as_of(&mut conn, User::as_of(1, before)),
        RowAsOf::BeforeHistory { .. }
    ));
}

/// A model that cannot hold what the row had is an error, never no row.
#[test]
fn unexpected_null() {
    let (_database, mut conn) = database(
        "CREATE TABLE users (id int PRIMARY KEY, name text, email text); SELECT threadline.audit_table('users')",
    );
    run(&mut conn, "INSERT INTO users VALUES (1)");
    let at = now(&mut conn);
    run(&mut conn, "UPDATE users SET name = 'Ada'");
    let error = User::as_of(1, at).get_result(&mut conn).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the row has no value for a column that the model needs"),
        "{error}"
    );
}

/// The same type with other values runs the same prepared statement, and a key is looked up at any size of the audit log.
#[test]
fn one_prepared_statement() {
    let (_database, mut conn, before) = changed();
    let after = now(&mut conn);
    for (id, at, name) in [
        (1, before, "Ada"),
        (1, after, "Ada L."),
        (2, before, "Bob"),
        (4, after, "Dan"),
    ] {
        assert_eq!(
            as_of(&mut conn, User::as_of(id, at))
                .into_result()
                .unwrap()
                .name,
            name
        );
    }
    let statements =
        "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%\"row_as_of users\"%'";
    assert_eq!(text(&mut conn, statements).unwrap(), "1");
}
