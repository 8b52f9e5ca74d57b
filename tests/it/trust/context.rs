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
    SET threadline.entered_with = E'{"type":"user","id":"honest"}\x1f{}';
    SET threadline.transaction_id = '00000000-0000-7000-8000-000000000000';
    SET threadline.changed_tables = ',1,2,3,';
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
