//! `NewAction`: what was meant, and why, stands beside the changes of its transaction.

mod asynchronous;
mod refused;

use std::sync::Arc;

use diesel::prelude::*;
use diesel::result::Error::RollbackTransaction;
use serde_json::json;
use threadline::prelude::*;
use threadline::schema::threadline::{audit_actions, audit_changes, audit_transactions};
use threadline::{ActionStatus, Error};
use threadline_test_support::Database;
use uuid::Uuid;

use crate::common::{database, run, text};
use crate::context::{ACCOUNTS, Log};

fn audited() -> (Database, PgConnection) {
    database(ACCOUNTS)
}

fn ada() -> AuditContext {
    AuditContext::new(ActorRef::user("ada"))
        .source("shop")
        .correlation_id("c-1")
        .request_id("r-1")
        .job_id("j-1")
        .remote_ip([192, 0, 2, 7].into())
}

fn insert(conn: &mut PgConnection, id: i32) -> QueryResult<()> {
    diesel::sql_query(format!("INSERT INTO accounts VALUES ({id}, 100)")).execute(conn)?;
    Ok(())
}

/// Name, actor, whom it was done for, and ids of every action, in order.
fn actions(conn: &mut PgConnection) -> Vec<String> {
    let shown = "SELECT string_agg(concat_ws(' ', name, actor_ref ->> 'id', on_behalf_of ->> 'id', correlation_id, request_id, job_id),
        ';' ORDER BY occurred_at, id) FROM threadline.audit_actions";
    let shown = text(conn, shown).unwrap_or_default();
    shown.split_terminator(';').map(str::to_owned).collect()
}

/// Before or after the first change and several times, an action belongs to the transaction of the changes, and takes
/// from its context who did it.
#[test]
fn linked_to_the_changes() {
    let (_database, mut conn) = audited();
    let recorded = conn
        .audited_transaction(&ada(), |conn| {
            let first = NewAction::new("account.requested").record(conn)?;
            assert_eq!(conn.audit_transaction_id()?, Some(first.transaction_id));
            insert(conn, 1)?;
            let second = NewAction::new("account.opened").record(conn)?;
            insert(conn, 2)?;
            let third = NewAction::new("account.opened").record(conn)?;
            Ok::<_, Error>([first, second, third])
        })
        .unwrap();
    let transactions: Vec<Uuid> = audit_transactions::table
        .select(audit_transactions::id)
        .load(&mut conn)
        .unwrap();
    assert_eq!(
        recorded.each_ref().map(|a| a.transaction_id),
        [transactions[0]; 3]
    );
    assert_eq!(transactions.len(), 1);
    let of_the_changes: Vec<Uuid> = audit_changes::table
        .select(audit_changes::transaction_id)
        .load(&mut conn)
        .unwrap();
    assert_eq!(of_the_changes, [transactions[0]; 2]);
    assert_eq!(
        actions(&mut conn),
        [
            "account.requested ada c-1 r-1 j-1",
            "account.opened ada c-1 r-1 j-1",
            "account.opened ada c-1 r-1 j-1"
        ]
    );
    // The changes after an action need no context of their own.
    let own = audit_changes::table.filter(audit_changes::context.is_not_null());
    assert_eq!(own.count().get_result(&mut conn), Ok(0));
    for pair in recorded.windows(2) {
        assert!(pair[0].id < pair[1].id || pair[0].occurred_at == pair[1].occurred_at);
    }
    assert!(recorded.iter().all(|a| a.id.get_version_num() == 7));
}

/// Outside a transaction an action stands alone, in an audit transaction that holds nothing else and says from where it came.
#[test]
fn outside_a_transaction() {
    let (_database, mut conn) = audited();
    insert(&mut conn, 1).unwrap();
    let action =
        NewAction::new("account.viewed").context(&ada().on_behalf_of(ActorRef::user("eve")));
    let recorded = action.record(&mut conn).unwrap();
    insert(&mut conn, 2).unwrap();
    assert_eq!(actions(&mut conn), ["account.viewed ada eve c-1 r-1 j-1"]);
    let beside =
        audit_changes::table.filter(audit_changes::transaction_id.eq(recorded.transaction_id));
    assert_eq!(beside.count().get_result(&mut conn), Ok(0));
    let transaction = format!(
        "SELECT concat_ws(' ', actor_ref ->> 'id', on_behalf_of ->> 'id', source, host(remote_ip), database_role = session_user)
           FROM threadline.audit_transactions WHERE id = '{}'",
        recorded.transaction_id
    );
    assert_eq!(
        text(&mut conn, &transaction).unwrap(),
        "ada eve shop 192.0.2.7 t"
    );

    // It changed nothing, so what it left is what there was when it began.
    let past =
        threadline::as_of_transaction(recorded.transaction_id, crate::context::accounts::table);
    let count: i64 = past.count().get_result(&mut conn).unwrap();
    assert_eq!(count, 1);

    // With an actor only, or in a scope.
    NewAction::new("account.viewed")
        .actor(ActorRef::system("cron"))
        .record(&mut conn)
        .unwrap();
    ada().on_behalf_of(ActorRef::user("eve")).sync_scope(|| {
        NewAction::new("account.listed").record(&mut conn).unwrap();
        let by_another = NewAction::new("account.listed").actor(ActorRef::system("cron"));
        by_another.request_id("r-2").record(&mut conn).unwrap();
    });
    // A context is all there is to say, whatever the scope.
    let nightly = AuditContext::new(ActorRef::job("nightly"));
    let recorded = ada().sync_scope(|| {
        NewAction::new("account.swept")
            .context(&nightly)
            .record(&mut conn)
    });
    let whose = format!(
        "SELECT concat_ws(' ', actor_ref ->> 'id', source, correlation_id, request_id, host(remote_ip)) FROM threadline.audit_transactions WHERE id = '{}'",
        recorded.unwrap().transaction_id
    );
    assert_eq!(text(&mut conn, &whose).unwrap(), "nightly");
    // The rest is of the scope, in the transaction as well.
    let given = ada().sync_scope(|| {
        NewAction::new("account.given")
            .correlation_id("c-9")
            .record(&mut conn)
    });
    let whose = format!(
        "SELECT concat_ws(' ', actor_ref ->> 'id', correlation_id, request_id) FROM threadline.audit_transactions WHERE id = '{}'",
        given.unwrap().transaction_id
    );
    assert_eq!(text(&mut conn, &whose).unwrap(), "ada c-9 r-1");
    assert_eq!(
        actions(&mut conn)[1..],
        [
            "account.viewed cron",
            "account.listed ada eve c-1 r-1 j-1",
            "account.listed cron c-1 r-2 j-1",
            "account.swept nightly",
            "account.given ada c-9 r-1 j-1"
        ]
    );
}

/// What is given goes before what the transaction says; whom its actor acts for does not pass on to another actor.
#[test]
fn given_values_go_first() {
    let (_database, mut conn) = audited();
    let as_user = ada().on_behalf_of(ActorRef::user("eve"));
    conn.audited_transaction(&as_user, |conn| {
        NewAction::new("a.plain").record(conn)?;
        NewAction::new("a.ids")
            .correlation_id("c-2")
            .request_id("r-2")
            .job_id("j-2")
            .record(conn)?;
        NewAction::new("a.actor")
            .actor(ActorRef::system("cron"))
            .record(conn)?;
        NewAction::new("a.behalf")
            .on_behalf_of(ActorRef::user("zoe"))
            .record(conn)?;
        let other = AuditContext::new(ActorRef::job("bob"))
            .job_id("j-3")
            .source("batch");
        NewAction::new("a.context").context(&other).record(conn)
    })
    .unwrap();
    assert_eq!(
        actions(&mut conn),
        [
            "a.plain ada eve c-1 r-1 j-1",
            "a.ids ada eve c-2 r-2 j-2",
            "a.actor cron c-1 r-1 j-1",
            "a.behalf ada zoe c-1 r-1 j-1",
            "a.context bob j-3"
        ]
    );
}

/// Everything else that is said of an action is kept, whatever characters it is made of.
#[test]
fn everything_is_kept() {
    let (_database, mut conn) = audited();
    let hostile = r#"O'Hara \ \' "x" -- ; DROP TABLE accounts; $1 %s 🦀"#;
    let action = NewAction::new("account.close_2.refused")
        .status(ActionStatus::Error)
        .reason(hostile)
        .comment(hostile.repeat(200))
        .meta(json!({hostile: [1, null, hostile]}))
        .actor(ActorRef::user(hostile));
    assert_eq!(
        (action.category(), action.verb()),
        ("account.close_2", "refused")
    );
    action.record(&mut conn).unwrap();
    let kept = audit_actions::table
        .select((
            audit_actions::name,
            audit_actions::status,
            audit_actions::reason,
            audit_actions::comment,
            audit_actions::meta,
            audit_actions::actor_ref,
        ))
        .get_result(&mut conn);
    let kept: (
        String,
        String,
        Option<String>,
        Option<String>,
        Option<serde_json::Value>,
        ActorRef,
    ) = kept.unwrap();
    assert_eq!(
        kept,
        (
            "account.close_2.refused".to_owned(),
            "error".to_owned(),
            Some(hostile.to_owned()),
            Some(hostile.repeat(200)),
            Some(json!({hostile: [1, null, hostile]})),
            ActorRef::user(hostile)
        )
    );
}

/// In a nested audited transaction an action is of the nested actor, and goes with it when it is rolled back.
#[test]
fn nested() {
    let (_database, mut conn) = audited();
    let bob = AuditContext::new(ActorRef::admin("bob"));
    conn.audited_transaction(&ada(), |conn| {
        conn.audited_transaction(&bob, |conn| NewAction::new("a.nested").record(conn))?;
        NewAction::new("a.outer").record(conn)?;
        let failed = conn.audited_transaction(&bob, |conn| {
            NewAction::new("a.undone").record(conn)?;
            Err::<(), Error>(RollbackTransaction.into())
        });
        assert!(failed.is_err());
        NewAction::new("a.failed")
            .status(ActionStatus::Error)
            .record(conn)
    })
    .unwrap();
    let undone = conn.audited_transaction(&ada(), |conn| {
        NewAction::new("a.undone").record(conn)?;
        Err::<(), Error>(RollbackTransaction.into())
    });
    assert!(undone.is_err());
    let group = "SELECT string_agg(actor_ref ->> 'id', ',') FROM threadline.audit_transactions";
    assert_eq!(
        text(&mut conn, group).unwrap(),
        "ada",
        "one group, of the outermost actor"
    );
    assert_eq!(
        actions(&mut conn),
        [
            "a.nested bob",
            "a.outer ada c-1 r-1 j-1",
            "a.failed ada c-1 r-1 j-1"
        ]
    );
}

/// An action costs one statement in a transaction; alone it costs the three of an audited transaction.
#[test]
fn round_trips() {
    let (_database, mut conn) = audited();
    let log = Arc::default();
    conn.set_instrumentation(Log(Arc::clone(&log)));
    conn.audited_transaction(&ada(), |conn| NewAction::new("a.b").record(conn))
        .unwrap();
    NewAction::new("a.b")
        .context(&ada())
        .record(&mut conn)
        .unwrap();
    let log = log.lock().unwrap();
    let known = ["BEGIN; ", "SELECT id, ", "SELECT; COMMIT"];
    assert_eq!(log.len(), 6, "{log:#?}");
    for (sql, start) in log.iter().zip(known.iter().cycle()) {
        assert!(sql.starts_with(start), "{log:#?}");
    }
}

/// Serializable transactions that record actions side by side do not make each other fail.
#[test]
fn serializable_neighbours() {
    let (database, mut conn) = audited();
    let mut neighbour = database.connect();
    let begin = "BEGIN ISOLATION LEVEL SERIALIZABLE";
    let action =
        r#"SELECT threadline.record_action('a.b', actor_ref => '{"type":"user","id":"7"}')"#;
    for _ in 0..3 {
        run(&mut conn, begin);
        run(&mut neighbour, begin);
        run(&mut conn, action);
        run(&mut neighbour, action);
        run(
            &mut conn,
            "INSERT INTO accounts SELECT coalesce(max(id), 0) + 1, 1 FROM accounts WHERE id < 0; COMMIT",
        );
        run(&mut neighbour, "COMMIT");
        run(&mut conn, "DELETE FROM accounts");
    }
    assert_eq!(actions(&mut conn).len(), 6);
}
