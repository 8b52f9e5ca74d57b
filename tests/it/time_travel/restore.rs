//! `Version::restore`: a row is brought back, and nothing is lost unawares.

use diesel::prelude::*;
use threadline::{Error, Op};

use super::*;
use crate::common::{changes, text};

fn versions(conn: &mut PgConnection, id: i32) -> Vec<Version<User>> {
    User::history(id)
        .load(conn)
        .expect("the history can be read")
}

fn name(conn: &mut PgConnection, id: i32) -> Option<String> {
    users::table
        .find(id)
        .select(users::name)
        .get_result(conn)
        .optional()
        .expect("the table can be read")
}

/// Later changes are lost only by those who say so, of all or of those they have seen.
#[test]
fn later_changes() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, 'a'); UPDATE users SET name = 'b'; UPDATE users SET name = 'c'",
    );
    let [c, b, a] = &versions(&mut conn, 1)[..] else {
        panic!("three versions")
    };
    let error = a.restore().run(&mut conn).unwrap_err();
    assert!(
        matches!(error, Error::LaterChanges { newest_change, .. } if newest_change == c.id),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "later changes of this row of public.users would be lost: 2"
    );
    let error = a
        .restore()
        .discard_changes_through(b.id)
        .run(&mut conn)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "later changes of this row of public.users would be lost: 1"
    );
    assert_eq!(name(&mut conn, 1).as_deref(), Some("c"));

    assert_eq!(
        c.restore().run(&mut conn).unwrap().op,
        None,
        "the row is what it is to be"
    );
    assert_eq!(
        b.restore()
            .discard_changes_through(c.id)
            .run(&mut conn)
            .unwrap()
            .op,
        Some(Op::Update)
    );
    assert_eq!(name(&mut conn, 1).as_deref(), Some("b"));
    // What was seen is no longer the newest.
    assert!(matches!(
        a.restore().discard_changes_through(c.id).run(&mut conn),
        Err(Error::LaterChanges { .. })
    ));
    assert_eq!(
        a.restore()
            .discard_later_changes()
            .run(&mut conn)
            .unwrap()
            .op,
        Some(Op::Update)
    );
    assert_eq!(name(&mut conn, 1).as_deref(), Some("a"));
}

/// A deleted row comes back by an insert, one that was not to be there goes by a delete; each is captured with its actor.
#[test]
fn inserts_and_deletes() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, 'a', 'a@example.com'); DELETE FROM users",
    );
    let [deleted, inserted] = &versions(&mut conn, 1)[..] else {
        panic!("two versions")
    };
    let ctx = AuditContext::new(ActorRef::admin("eve"));
    let back = conn.audited_transaction(&ctx, |conn| {
        let back = inserted
            .restore()
            .discard_changes_through(deleted.id)
            .run(conn)
            .expect("it can come back");
        QueryResult::Ok(back)
    });
    assert_eq!(back.unwrap().op, Some(Op::Insert));
    assert_eq!(
        versions(&mut conn, 1)[0].actor,
        Some(ActorRef::admin("eve"))
    );
    assert_eq!(versions(&mut conn, 1)[0].row, inserted.row);
    assert_eq!(
        deleted
            .restore()
            .discard_later_changes()
            .run(&mut conn)
            .unwrap()
            .op,
        Some(Op::Delete)
    );
    assert_eq!(
        deleted
            .restore()
            .discard_later_changes()
            .run(&mut conn)
            .unwrap()
            .op,
        None
    );
    assert_eq!(name(&mut conn, 1), None);
    let ops: Vec<_> = changes(&mut conn, "public.users")
        .into_iter()
        .map(|change| change.op)
        .collect();
    assert_eq!(ops, ["insert", "delete", "insert", "delete"]);
}

/// Columns that are not in the audit log are told, and left alone or to their defaults; so are those added since, and those
/// renamed are found.
#[test]
fn columns() {
    let (_database, mut conn) = database(
        "CREATE TABLE users (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, email text, hash text DEFAULT 'none',
                             len int GENERATED ALWAYS AS (length(name)) STORED);
         SELECT threadline.audit_table('users', mask => '{email}', exclude => '{hash}');
         INSERT INTO users (name, email, hash) VALUES ('Ada', 'ada@example.com', 'secret')",
    );
    let inserted = versions(&mut conn, 1).remove(0);
    run(
        &mut conn,
        "ALTER TABLE users RENAME name TO n; ALTER TABLE users ADD \"since %\" int DEFAULT 7; UPDATE users SET n = 'Bob', \"since %\" = 8;
         SELECT threadline.refresh_audited_tables()",
    );
    let restored = inserted
        .restore()
        .discard_later_changes()
        .run(&mut conn)
        .unwrap();
    assert_eq!(
        (restored.op, restored.skipped_columns),
        (
            Some(Op::Update),
            vec!["email".to_owned(), "hash".to_owned()]
        )
    );
    assert_eq!(
        text(&mut conn, "SELECT users FROM users").unwrap(),
        "(1,Ada,ada@example.com,secret,3,8)"
    );
    run(&mut conn, "DELETE FROM users");
    inserted
        .restore()
        .discard_later_changes()
        .run(&mut conn)
        .unwrap();
    assert_eq!(
        text(&mut conn, "SELECT users FROM users").unwrap(),
        "(1,Ada,,none,3,7)"
    );
}

/// Composite keys, tables with a schema and odd names; a key that moved on comes back beside the row that left it.
#[test]
fn keys_and_names() {
    let (_database, mut conn, _) = changed();
    let comments: Vec<Version<Comment>> = Comment::history((10, 2)).load(&mut conn).unwrap();
    assert_eq!(
        comments[1]
            .restore()
            .discard_later_changes()
            .run(&mut conn)
            .unwrap()
            .op,
        Some(Op::Insert)
    );
    assert_eq!(text(&mut conn, "SELECT string_agg(number::text, ' ' ORDER BY number) FROM blog.comments WHERE post_id = 10").unwrap(), "1 2 3");
    let odd: Vec<Version<Odd>> = Odd::history("a").load(&mut conn).unwrap();
    assert_eq!(
        odd[2]
            .restore()
            .discard_later_changes()
            .run(&mut conn)
            .unwrap()
            .op,
        Some(Op::Update)
    );
    let value: Option<String> = odd_names::table
        .find("a")
        .select(odd_names::value)
        .get_result(&mut conn)
        .unwrap();
    assert_eq!(value.as_deref(), Some("x"));
}

/// It waits for whoever writes the row, and then sees what they did.
#[test]
fn waits_for_writers() {
    let (database, mut conn) = audited();
    run(&mut conn, "INSERT INTO users VALUES (1, 'a')");
    let inserted = versions(&mut conn, 1).remove(0);
    let mut writer = database.connect();
    run(&mut writer, "BEGIN; UPDATE users SET name = 'b'");
    let waiting = std::thread::spawn(move || {
        inserted
            .restore()
            .run(&mut conn)
            .map(|restored| restored.op)
    });
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while text(&mut writer, blocked).as_deref() == Some("0") && !waiting.is_finished() {
        run(&mut writer, "SELECT pg_stat_clear_snapshot()");
    }
    run(&mut writer, "COMMIT");
    let error = waiting.join().expect("no panic").unwrap_err();
    assert!(matches!(error, Error::LaterChanges { .. }), "{error:?}");
}

/// A gap in capture counts as later changes, and a write that a trigger prevents is an error and no success.
#[test]
fn gaps_and_triggers() {
    let (_database, mut conn) = audited();
    run(&mut conn, "INSERT INTO users VALUES (1, 'a')");
    let inserted = versions(&mut conn, 1).remove(0);
    run(
        &mut conn,
        "SELECT threadline.unaudit_table('users'); UPDATE users SET name = 'unseen'; SELECT threadline.audit_table('users')",
    );
    assert!(matches!(
        inserted.restore().run(&mut conn),
        Err(Error::LaterChanges { .. })
    ));
    assert!(matches!(
        inserted
            .restore()
            .discard_changes_through(99)
            .run(&mut conn),
        Err(Error::LaterChanges { .. })
    ));
    run(
        &mut conn,
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    let error = inserted
        .restore()
        .discard_later_changes()
        .run(&mut conn)
        .unwrap_err();
    assert!(
        matches!(&error, Error::Database(source) if source.to_string().contains("was prevented")),
        "{error:?}"
    );
    run(&mut conn, "DROP TRIGGER keep ON users");
    assert_eq!(
        inserted
            .restore()
            .discard_later_changes()
            .run(&mut conn)
            .unwrap()
            .op,
        Some(Op::Update)
    );
}

/// What the audit log no longer has, or what the caller may not write, is an error, and nothing happens.
#[test]
fn refused() {
    let (database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, 'a'); UPDATE users SET name = 'b'",
    );
    let inserted = versions(&mut conn, 1).remove(1);
    let role = format!("{}_reader", database.name());
    run(
        &mut conn,
        &format!(
            "CREATE ROLE \"{role}\"; SELECT threadline.grant_reader('\"{role}\"'); GRANT SELECT ON users TO \"{role}\"; SET ROLE \"{role}\""
        ),
    );
    let error = inserted
        .restore()
        .discard_later_changes()
        .run(&mut conn)
        .unwrap_err();
    assert!(
        matches!(&error, Error::Database(source) if source.to_string().contains("permission denied for table users")),
        "{error:?}"
    );
    run(
        &mut conn,
        &format!(
            "RESET ROLE; DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"; TRUNCATE threadline.audit_changes"
        ),
    );
    let error = inserted.restore().run(&mut conn).unwrap_err();
    assert!(
        matches!(&error, Error::Database(source) if source.to_string().contains("has no change")),
        "{error:?}"
    );
    assert_eq!(name(&mut conn, 1).as_deref(), Some("b"));
}

/// The same on an asynchronous connection.
#[tokio::test]
async fn asynchronous() {
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

    let (database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users VALUES (1, 'a'); UPDATE users SET name = 'b'",
    );
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let versions: Vec<Version<User>> = RunQueryDsl::load(User::history(1), &mut conn)
        .await
        .unwrap();
    let error = versions[1].restore().run(&mut conn).await.unwrap_err();
    assert!(
        matches!(error, Error::LaterChanges { newest_change, .. } if newest_change == versions[0].id),
        "{error:?}"
    );
    let ctx = AuditContext::new(ActorRef::user("7"));
    let restored =
        threadline::AsyncAuditedConnection::audited_transaction(&mut conn, &ctx, async |conn| {
            Ok::<_, diesel::result::Error>(
                versions[1]
                    .restore()
                    .discard_changes_through(versions[0].id)
                    .run(conn)
                    .await,
            )
        });
    assert_eq!(restored.await.unwrap().unwrap().op, Some(Op::Update));
}
