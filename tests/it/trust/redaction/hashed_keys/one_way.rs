//! What was once hashed is never recorded in clear, until somebody says so by name.

use super::{REFRESH, assert_secret, hash, sessions};
use crate::common::{count, run, text};

/// Neither a migration of the table nor a definition that says less ends it.
#[test]
fn migrations() {
    for (migration, token) in [
        ("SELECT threadline.audit_table('sessions')", "token"),
        ("ALTER TABLE sessions RENAME token TO t2", "t2"),
        ("ALTER TABLE sessions ALTER token TYPE varchar(90)", "token"),
        ("ALTER TABLE sessions ALTER token TYPE text USING token || '!'", "token"),
        ("ALTER TABLE sessions ALTER token TYPE bytea USING convert_to(token, 'UTF8')", "token"),
        ("ALTER TABLE sessions ALTER token TYPE varchar(30)", "token"),
        ("ALTER TABLE sessions ALTER token TYPE jsonb USING to_jsonb(token)", "token"),
        ("ALTER TABLE sessions RENAME TO s; ALTER TABLE s RENAME TO sessions", "token"),
        ("ALTER TABLE sessions RENAME token TO x; ALTER TABLE sessions RENAME ip TO token; ALTER TABLE sessions RENAME x TO ip", "ip"),
        ("ALTER TABLE sessions DROP token; ALTER TABLE sessions ADD token text; UPDATE sessions SET token = 'secret-' || ip;
          ALTER TABLE sessions ADD PRIMARY KEY (token)", "token"),
        ("ALTER TABLE sessions ADD id serial; ALTER TABLE sessions DROP CONSTRAINT sessions_pkey, ADD PRIMARY KEY (id)", "token"),
        ("ALTER TABLE sessions DROP CONSTRAINT sessions_pkey", "token"),
        ("DROP TABLE sessions; CREATE TABLE sessions (token text PRIMARY KEY, ip text, n int DEFAULT 0); SELECT threadline.audit_table('sessions')", "token"),
        ("DROP TABLE sessions; CREATE TABLE sessions (id serial PRIMARY KEY, token text, ip text, n int DEFAULT 0); SELECT threadline.audit_table('sessions', unredact => '{id}')", "token"),
        ("SELECT threadline.unaudit_table('sessions'); SELECT threadline.audit_table('sessions')", "token"),
        ("ALTER TABLE sessions ADD head text GENERATED ALWAYS AS (left(token, 9)) STORED", "token"),
    ] {
        let (_database, mut conn) = sessions();
        let conn = &mut conn;
        run(conn, "INSERT INTO sessions VALUES ('secret-1', '1'), ('secret-2', '2')");
        run(conn, migration);
        let kind = text(conn, &format!("SELECT atttypid::regtype FROM pg_attribute WHERE attrelid = 'sessions'::regclass AND attname = '{token}'")).unwrap();
        let value = |number: i32| match &*kind {
            "jsonb" => format!("'\"secret-{number}\"'"),
            _ => format!("'secret-{number}'"),
        };
        for (number, refresh) in [(3, "SELECT 1"), (5, REFRESH)] {
            run(conn, refresh);
            run(
                conn,
                &format!(
                    "INSERT INTO sessions ({token}) VALUES ({}), ({}); UPDATE sessions SET n = n + 1;
                     UPDATE sessions SET {token} = {} WHERE {token} = {}",
                    value(number), value(number + 1), value(number + 10), value(number)
                ),
            );
            assert_secret(conn);
        }
    }
}

/// The history of a row goes on after a renaming of the column, and begins anew after a conversion.
#[test]
fn histories() {
    let (_database, mut conn) = sessions();
    let conn = &mut conn;
    run(conn, "INSERT INTO sessions VALUES ('secret-1', '1')");
    for migration in [
        "ALTER TABLE sessions RENAME token TO t",
        "ALTER TABLE sessions ALTER t TYPE varchar(90)",
    ] {
        run(
            conn,
            &format!(
                "{migration}; UPDATE sessions SET n = n + 1; {REFRESH}; UPDATE sessions SET n = n + 1"
            ),
        );
    }
    assert_eq!(
        count(conn, "threadline.versions(NULL::sessions, 'secret-1')"),
        5
    );
    assert_eq!(
        text(conn, "SELECT gap FROM threadline.audited_tables"),
        None
    );
    run(
        conn,
        &format!("ALTER TABLE sessions ALTER t TYPE text USING t || '!'; {REFRESH}"),
    );
    let gap = text(conn, "SELECT gap FROM threadline.audited_tables").unwrap();
    assert!(gap.contains("its values are others than before"), "{gap}");
}

/// `unredact` ends it, which is recorded, and begins the history anew.
#[test]
fn unredact() {
    let (_database, mut conn) = sessions();
    let conn = &mut conn;
    run(conn, "INSERT INTO sessions VALUES ('secret-1')");
    run(
        conn,
        "SELECT threadline.audit_table('sessions', hash_key => '{token}', unredact => '{token}')",
    );
    assert_eq!(count(conn, "threadline.audit_actions"), 0);
    run(conn, "INSERT INTO sessions VALUES ('secret-2')");
    assert_secret(conn);
    run(
        conn,
        "SELECT threadline.audit_table('sessions', unredact => '{token}'); INSERT INTO sessions VALUES ('plain-3')",
    );
    let columns = "SELECT meta ->> 'columns' FROM threadline.audit_actions WHERE name = 'threadline.redaction_weakened'";
    assert_eq!(text(conn, columns).as_deref(), Some("[\"token\"]"));
    let gap = text(conn, "SELECT gap FROM threadline.audited_tables").unwrap();
    assert_eq!(
        gap,
        "key column token is recorded in clear since then, and as a hash before"
    );
    assert_eq!(
        count(conn, "threadline.changes WHERE row_key = 'plain-3'"),
        1
    );
    // Once more, under the secret of before.
    let hashed = hash(conn, "secret-1");
    run(
        conn,
        "SELECT threadline.audit_table('sessions', hash_key => '{token}'); UPDATE sessions SET n = 1",
    );
    assert_eq!(
        count(
            conn,
            &format!("threadline.changes WHERE row_key = '{hashed}'")
        ),
        2
    );
}
