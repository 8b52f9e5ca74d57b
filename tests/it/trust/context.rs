//! What a session says of itself: until when it is believed, and how much of it is kept.

use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use threadline::prelude::*;

use crate::common::{database, run, text};
use crate::context::ACCOUNTS;

const INSERT: &str = "INSERT INTO accounts VALUES (1, 1)";

/// Everything that Threadline keeps in settings, said by somebody who had the connection before.
const FORGED: &str = r#"
    SET threadline.actor_ref = '{"type":"admin","id":"victim"}';
    SET threadline.context = '{"source":"forged","remote_ip":"192.0.2.6","correlation_id":"forged","meta":{"forged":true}}';
    SET threadline.outer_context = '{"actor_ref":"{\"type\":\"admin\",\"id\":\"victim\"}","context":"{\"source\":\"forged\",\"remote_ip\":\"192.0.2.6\"}"}';
    SET threadline.entered = '00000000-0000-7000-8000-000000000000,1,2,3,';
    SET threadline.entered_with = E'00000000-0000-7000-8000-000000000000\x1f{"type":"user","id":"inner"}\x1f{}';
    SET threadline.moving_1 = '1|now|1|now';
    SET threadline.inserting_1 = 'now|';"#;

/// What the group and the change say together.
const RECORDED: &str = "SELECT string_agg(concat_ws(' ', t.actor_ref ->> 'id', t.source, t.remote_ip, t.correlation_id, t.meta, c.actor_ref ->> 'id',
        c.source, c.op), ', ' ORDER BY c.id)
    FROM threadline.changes AS c JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id";

fn honest() -> AuditContext {
    AuditContext::new(ActorRef::user("honest"))
}

/// Nothing that a session said before reaches a later audited transaction on its connection.
#[test]
fn forged_for_the_session() {
    let (_database, mut conn) = database(ACCOUNTS);
    run(&mut conn, FORGED);
    conn.audited_transaction(&honest(), |conn| {
        assert_eq!(conn.audit_transaction_id()?, None);
        diesel::sql_query(INSERT).execute(conn)?;
        conn.audited_transaction(&AuditContext::new(ActorRef::user("inner")), |conn| {
            diesel::sql_query("UPDATE accounts SET balance = 2").execute(conn)
        })?;
        diesel::sql_query("DELETE FROM accounts").execute(conn)
    })
    .unwrap();
    assert_eq!(
        text(&mut conn, RECORDED).unwrap(),
        "honest honest insert, honest inner update, honest honest delete"
    );
}

/// As `forged_for_the_session`, for asynchronous connections.
#[tokio::test]
async fn forged_for_the_session_async() {
    let (database, mut observer) = database(ACCOUNTS);
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    conn.batch_execute(FORGED).await.unwrap();
    conn.audited_transaction(&honest(), async |conn| {
        assert_eq!(conn.audit_transaction_id().await?, None);
        conn.batch_execute(INSERT).await?;
        conn.audited_transaction(&AuditContext::new(ActorRef::user("inner")), async |conn| {
            conn.batch_execute("UPDATE accounts SET balance = 2").await
        })
        .await?;
        conn.batch_execute("DELETE FROM accounts").await
    })
    .await
    .unwrap();
    assert_eq!(
        text(&mut observer, RECORDED).unwrap(),
        "honest honest insert, honest inner update, honest honest delete"
    );
}

/// A first change in a nested audited transaction is of the outermost one, and not of what the session said.
#[test]
fn forged_around_a_nested_transaction() {
    let (_database, mut conn) = database(ACCOUNTS);
    run(&mut conn, FORGED);
    conn.audited_transaction(&honest(), |conn| {
        conn.audited_transaction(&AuditContext::new(ActorRef::user("inner")), |conn| {
            diesel::sql_query(INSERT).execute(conn)
        })
    })
    .unwrap();
    assert_eq!(text(&mut conn, RECORDED).unwrap(), "honest inner insert");
}

/// Code that opens its own transaction and sets its context there is not attributed to somebody else either, whatever an
/// outer context that is not of this transaction holds.
#[test]
fn forged_outer_context_of_a_plain_transaction() {
    for outer in [
        r#"{"actor_ref":"{\"type\":\"admin\",\"id\":\"victim\"}"}"#,
        r#"{"began":"1","outer":{"actor_ref":"{\"type\":\"admin\",\"id\":\"victim\"}"}}"#,
        "no JSON",
    ] {
        let (_database, mut conn) = database(ACCOUNTS);
        run(
            &mut conn,
            &format!("SET threadline.outer_context = '{outer}'"),
        );
        conn.transaction(|conn| {
            conn.set_audit_context(&honest())?;
            diesel::sql_query(INSERT).execute(conn)
        })
        .unwrap();
        conn.transaction(|conn| {
            conn.set_audit_context(&honest())?;
            conn.audited_transaction(&AuditContext::new(ActorRef::user("inner")), |conn| {
                diesel::sql_query("UPDATE accounts SET balance = 2").execute(conn)
            })
        })
        .unwrap();
        assert_eq!(
            text(&mut conn, RECORDED).unwrap(),
            "honest honest insert, honest inner update"
        );
    }
}

/// The bytes of the texts that the newest row of `audit_transactions` keeps, and what its meta says was shortened.
const KEPT: &str = "SELECT concat_ws(' ', octet_length(source), octet_length(correlation_id), octet_length(request_id),
        octet_length(job_id), length(remote_ip::text), meta -> 'shortened', octet_length(meta ->> 'text'))
    FROM threadline.audit_transactions ORDER BY id DESC LIMIT 1";

/// Half a megabyte that is said once is not copied into every change that follows.
#[test]
fn context_without_end() {
    let (_database, mut conn) = database(
        "CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL); SELECT threadline.audit_table('accounts');
         CREATE FUNCTION long(n int) RETURNS text LANGUAGE sql AS $$
           SELECT string_agg(md5(i::text), '') FROM generate_series(1, n / 32) AS i $$",
    );
    let size = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('threadline.audit_changes')";
    let endless = "long(500000)";
    for context in [
        format!("jsonb_build_object('meta', jsonb_build_object('m', {endless}))"),
        format!("jsonb_build_object('meta', {endless})"),
        format!(
            "jsonb_build_object('source', {endless}, 'correlation_id', {endless}, 'request_id', {endless}, 'job_id', {endless})"
        ),
        format!(
            "jsonb_build_object('request_id', jsonb_build_object('r', {endless}), 'meta', jsonb_build_array({endless}))"
        ),
        format!(
            "jsonb_build_object('on_behalf_of', jsonb_build_object('type', 'user', 'id', {endless}))"
        ),
        format!("jsonb_build_object('on_behalf_of', {endless})"),
        format!("to_jsonb({endless})"),
        "jsonb_build_object('remote_ip', repeat('0', 500000) || '192.0.2.7')".to_owned(),
        "format('{\"meta\": [%s1]}', repeat('1e131071,', 50))".to_owned(),
        "format('{\"job_id\": [%s1]}', repeat('1e131071,', 50))".to_owned(),
        format!("'nonsense' || {endless}"),
    ] {
        for actor in ["''", "'nobody' || long(500000)"] {
            run(
                &mut conn,
                "TRUNCATE accounts; INSERT INTO accounts SELECT i, 1 FROM generate_series(1, 301) AS i; CHECKPOINT",
            );
            let before: u64 = text(&mut conn, size).unwrap().parse().unwrap();
            run(
                &mut conn,
                &format!(
                    "BEGIN; INSERT INTO accounts VALUES (0, 0);
                     SELECT set_config('threadline.context', ({context})::text, true), set_config('threadline.actor_ref', {actor}, true);
                     UPDATE accounts SET balance = 2; COMMIT"
                ),
            );
            let after: u64 = text(&mut conn, size).unwrap().parse().unwrap();
            assert!(
                after - before < 10_000_000,
                "{} bytes of {context}, {actor}",
                after - before
            );
        }
    }
    let kept = "SELECT max(length(context::text)) FROM threadline.audit_changes";
    let kept: u64 = text(&mut conn, kept).unwrap().parse().unwrap();
    assert!(kept < 20_000, "{kept}");
}

/// What is longer than its bound is cut between two characters, and meta says so; what is as long as it is stays.
#[test]
fn cut_at_the_bound() {
    let (_database, mut conn) = database(ACCOUNTS);
    run(
        &mut conn,
        "INSERT INTO accounts VALUES (0, 0); ALTER TABLE accounts ALTER balance DROP NOT NULL",
    );
    for (context, kept) in [
        ("'source', repeat('x', 1000)", "1000"),
        (
            "'source', repeat('🦀', 250), 'job_id', repeat('é', 500)",
            "1000 1000",
        ),
        ("'source', repeat('x', 1001)", r#"1000 ["source"]"#),
        (
            "'request_id', 'x' || repeat('🦀', 250)",
            r#"997 ["request_id"]"#,
        ),
        (
            "'request_id', 'xxx' || repeat('🦀', 250)",
            r#"999 ["request_id"]"#,
        ),
        ("'job_id', repeat('é', 500) || 'x'", r#"1000 ["job_id"]"#),
        ("'job_id', 'x' || repeat('é', 500)", r#"999 ["job_id"]"#),
        (
            "'correlation_id', repeat('€', 400), 'source', repeat('x', 2000)",
            r#"1000 999 ["source", "correlation_id"]"#,
        ),
        ("'meta', jsonb_build_object('m', repeat('x', 16375))", ""),
        (
            "'meta', jsonb_build_object('m', repeat('x', 16376))",
            r#"["meta"] 10000"#,
        ),
        (
            "'meta', repeat('🦀', 5000), 'request_id', repeat('🦀', 5000)",
            r#"1000 ["request_id", "meta"] 10000"#,
        ),
        (
            "'meta', 'x' || repeat('🦀', 5000), 'remote_ip', repeat('0', 5000) || '192.0.2.7'",
            r#"12 ["meta"] 9997"#,
        ),
        ("'remote_ip', repeat('0', 5000) || '192.0.2.7/32'", "12"),
    ] {
        run(
            &mut conn,
            &format!(
                "BEGIN; SELECT set_config('threadline.context', jsonb_build_object({context})::text, true);
                 UPDATE accounts SET balance = balance + 1; COMMIT"
            ),
        );
        assert_eq!(text(&mut conn, KEPT).unwrap(), kept, "{context}");
    }
    run(
        &mut conn,
        "BEGIN; SELECT set_config('threadline.context', jsonb_build_object('source', repeat('x', 1001), 'meta', '[1]'::jsonb)::text, true);
         UPDATE accounts SET balance = 1; COMMIT",
    );
    let meta = "SELECT meta FROM threadline.audit_transactions ORDER BY id DESC LIMIT 1";
    assert_eq!(
        text(&mut conn, meta).unwrap(),
        r#"{"meta": [1], "shortened": ["source"]}"#
    );
}
