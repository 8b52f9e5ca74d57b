//! The audit transactions and the recorded actions as such: who took part, in which order, a page at a time.

use diesel::prelude::*;
use diesel::result::Error::NotFound;
use serde_json::json;
use threadline::prelude::*;
use threadline::{
    Action, Actions, AuditTransaction, Op, Transactions, action, actions, timeline, transaction,
    transactions,
};
use uuid::Uuid;

use super::{audited, load};
use crate::common::run;

const NONE: [Uuid; 0] = [];

pub(super) fn ids(conn: &mut PgConnection, transactions: Transactions) -> Vec<Uuid> {
    let page: Vec<AuditTransaction> = transactions
        .load(conn)
        .unwrap_or_else(|error| panic!("{error}"));
    page.iter().map(|transaction| transaction.id).collect()
}

fn names(conn: &mut PgConnection, actions: Actions) -> Vec<String> {
    let page: Vec<Action> = actions.load(conn).unwrap_or_else(|error| panic!("{error}"));
    page.into_iter().map(|action| action.name).collect()
}

/// A transaction is an actor's who began it, changed something in a nested one, or recorded an action in it; likewise of whom
/// one acted for, and of a correlation id.
#[test]
fn who_took_part() {
    let (_database, mut conn) = audited();
    let [ada, bob, cyd, dan] = ["ada", "bob", "cyd", "dan"].map(ActorRef::user);
    let ctx = AuditContext::new(ada.clone())
        .correlation_id("c-1")
        .source("shop")
        .remote_ip([192, 0, 2, 7].into());
    let first = conn
        .audited_transaction(&ctx, |conn| {
            run(conn, "INSERT INTO users VALUES (1, 'Grace')");
            let nested = AuditContext::new(bob.clone())
                .on_behalf_of(dan.clone())
                .correlation_id("c-2");
            conn.audited_transaction(&nested, |conn| {
                run(conn, "UPDATE users SET name = 'Hopper'");
                QueryResult::Ok(())
            })?;
            NewAction::new("user.made")
                .actor(cyd.clone())
                .correlation_id("c-3")
                .record(conn)
        })
        .unwrap()
        .transaction_id;
    // Nothing of Ada's but the transaction itself, in which others do it all.
    let second = conn
        .audited_transaction(&AuditContext::new(ada.clone()), |conn| {
            conn.audited_transaction(&AuditContext::new(bob.clone()), |conn| {
                run(conn, "UPDATE users SET name = 'Grace'");
                QueryResult::Ok(())
            })?;
            NewAction::new("user.renamed").record(conn)
        })
        .unwrap()
        .transaction_id;
    let alone = NewAction::new("report.sent")
        .context(&AuditContext::new(cyd.clone()).on_behalf_of(dan.clone()))
        .record(&mut conn)
        .unwrap();
    run(&mut conn, "DELETE FROM users");
    let nameless = ids(&mut conn, transactions().limit(1))[0];

    let mut ids = |transactions| ids(&mut conn, transactions);
    assert_eq!(
        ids(transactions()),
        [nameless, alone.transaction_id, second, first]
    );
    assert_eq!(ids(transactions().actor(&ada)), [second, first]);
    assert_eq!(ids(transactions().actor(&bob)), [second, first]);
    assert_eq!(
        ids(transactions().actor(&cyd)),
        [alone.transaction_id, first]
    );
    assert_eq!(ids(transactions().actor(&dan)), NONE);
    assert_eq!(
        ids(transactions().on_behalf_of(&dan)),
        [alone.transaction_id, first]
    );
    for id in ["c-1", "c-2", "c-3"] {
        assert_eq!(ids(transactions().correlation_id(id)), [first], "{id}");
    }
    assert_eq!(ids(transactions().action("user.renamed")), [second]);
    assert_eq!(ids(transactions().actor(&bob).action("user.made")), [first]);
    assert_eq!(ids(transactions().actor(&cyd).action("user.renamed")), NONE);
    assert_eq!(
        ids(transactions()
            .actor(&bob)
            .on_behalf_of(&dan)
            .correlation_id("c-1")),
        [first]
    );

    let loaded: AuditTransaction = transaction(first).get_result(&mut conn).unwrap();
    assert_eq!(loaded.actor, Some(ada.clone()));
    assert_eq!(
        (loaded.source.as_deref(), loaded.remote_ip),
        (Some("shop"), Some([192, 0, 2, 7].into()))
    );
    assert_eq!(loaded.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(loaded.actions.len(), 1);
    assert_eq!(
        (&loaded.actions[0].actor, loaded.actions[0].transaction_id),
        (&cyd, first)
    );
    let nobody: AuditTransaction = transaction(nameless).get_result(&mut conn).unwrap();
    assert_eq!((nobody.actor, nobody.actions.len()), (None, 0));
    assert!(!nobody.database_role.is_empty());
    let none = transaction(Uuid::nil()).get_result::<AuditTransaction>(&mut conn);
    assert_eq!(none, Err(NotFound));

    let began = loaded.occurred_at;
    let micro = chrono::Duration::microseconds(1);
    let mut ids = |transactions| super::transactions::ids(&mut conn, transactions);
    assert_eq!(ids(transactions().until(began)), [first]);
    assert_eq!(ids(transactions().until(began - micro)), NONE);
    assert_eq!(
        ids(transactions().actor(&ada).since(began)),
        [second, first]
    );
    assert_eq!(
        ids(transactions().actor(&bob).since(began + micro)),
        [second]
    );
}

/// The changes of one transaction, or of that in which an action was recorded, are found by its id.
#[test]
fn changes_by_id() {
    let (_database, mut conn) = audited();
    let ctx = AuditContext::new(ActorRef::user("ada"));
    let mut write = |sql: &str| {
        conn.audited_transaction(&ctx, |conn| {
            run(conn, sql);
            NewAction::new("user.written").record(conn)
        })
        .unwrap()
    };
    let first = write("INSERT INTO users VALUES (1, 'x'), (2, 'y')");
    let second =
        write("UPDATE users SET name = 'z' WHERE id = 2; INSERT INTO pairs VALUES (1, 'x')");
    let mut told = |timeline| super::told(&mut conn, timeline);
    let of_second = [r#"pairs insert [1, "x"]"#, "users update 2"];
    assert_eq!(
        told(timeline().transaction(second.transaction_id)),
        of_second
    );
    assert_eq!(told(timeline().action_id(second.id)), of_second);
    assert_eq!(
        told(timeline().transaction(first.transaction_id).op(Op::Update)),
        [""; 0]
    );
    assert_eq!(
        told(
            timeline()
                .transaction(first.transaction_id)
                .action_id(second.id)
        ),
        [""; 0]
    );
    assert_eq!(told(timeline().action_id(first.transaction_id)), [""; 0]);
    assert_eq!(told(timeline().action_id(first.id).row_key("1")).len(), 1);
    let page = load(&mut conn, timeline().action_id(first.id).limit(1));
    let next = timeline().action_id(first.id).before(page[0].cursor());
    assert_eq!(load(&mut conn, next).len(), 1);
    for counted in [
        timeline().action_id(first.id),
        timeline().transaction(first.transaction_id),
    ] {
        assert_eq!(counted.count().get_result(&mut conn), Ok(2_i64));
    }
    for key in ["action_id", "transaction_id"] {
        for function in ["timeline", "timeline_count"] {
            let error = crate::common::error(
                &mut conn,
                &format!(r#"SELECT threadline.{function}('{{"{key}": "x"}}')"#),
            );
            assert_eq!(error, r#"invalid input syntax for type uuid: "x""#);
        }
    }
}

/// Actions are told newest first, those that stand alone as well, and each by its id.
#[test]
fn actions_are_listed() {
    let (_database, mut conn) = audited();
    let [ada, bob] = ["ada", "bob"].map(ActorRef::user);
    let ctx = AuditContext::new(ada.clone()).correlation_id("c-1");
    conn.audited_transaction(&ctx, |conn| {
        run(conn, "INSERT INTO users VALUES (1, 'Grace')");
        NewAction::new("user.made").record(conn)?;
        NewAction::new("user.greeted")
            .actor(bob.clone())
            .meta(json!({"n": null}))
            .record(conn)
    })
    .unwrap();
    let alone = NewAction::new("report.sent")
        .context(&AuditContext::new(ada.clone()))
        .reason("asked")
        .record(&mut conn)
        .unwrap();
    let loaded: Action = action(alone.id).get_result(&mut conn).unwrap();
    assert_eq!(
        (loaded.id, loaded.transaction_id, loaded.reason.as_deref()),
        (alone.id, alone.transaction_id, Some("asked"))
    );
    let none = action(Uuid::nil()).get_result::<Action>(&mut conn);
    assert_eq!(none, Err(NotFound));

    let mut names = |actions| names(&mut conn, actions);
    assert_eq!(
        names(actions()),
        ["report.sent", "user.greeted", "user.made"]
    );
    assert_eq!(names(actions().actor(&ada)), ["report.sent", "user.made"]);
    assert_eq!(names(actions().name("user.made")), ["user.made"]);
    assert_eq!(
        names(actions().correlation_id("c-1")),
        ["user.greeted", "user.made"]
    );
    let at = loaded.occurred_at;
    let micro = chrono::Duration::microseconds(1);
    assert_eq!(names(actions().since(at)), ["report.sent"]);
    assert_eq!(names(actions().until(at).limit(1)), ["report.sent"]);
    assert_eq!(names(actions().until(at - micro)).len(), 2);
    assert_eq!(names(actions().since(at + micro)), [""; 0]);
}

/// While more is recorded, the pages that follow are what they would have been, each transaction and action once.
#[test]
fn pages_are_stable() {
    let (_database, mut conn) = audited();
    let ada = ActorRef::user("ada");
    let record = |conn: &mut PgConnection, n: usize| {
        let ctx = AuditContext::new(ada.clone());
        let recorded = NewAction::new(format!("a.n{n}")).context(&ctx).record(conn);
        recorded.unwrap().transaction_id
    };
    let mut expected: Vec<_> = (1..=7).map(|n| record(&mut conn, n)).collect();
    expected.reverse();
    let (mut seen, mut told) = (Vec::new(), Vec::new());
    let mut page: Vec<AuditTransaction> =
        transactions().actor(&ada).limit(3).load(&mut conn).unwrap();
    let mut listed: Vec<Action> = actions().actor(&ada).limit(3).load(&mut conn).unwrap();
    while let (Some(transaction), Some(action)) = (page.last(), listed.last()) {
        // As a client would send them back.
        let transaction = transaction.cursor().to_string().parse().unwrap();
        let action = action.cursor().to_string().parse().unwrap();
        seen.extend(page.iter().map(|transaction| transaction.id));
        told.extend(listed.iter().map(|action| action.transaction_id));
        record(&mut conn, seen.len() + 100);
        let next = transactions().actor(&ada).before(transaction).limit(3);
        page = next.load(&mut conn).unwrap();
        let next = actions().actor(&ada).before(action).limit(3);
        listed = next.load(&mut conn).unwrap();
    }
    assert_eq!((&seen, &told), (&expected, &expected));
    assert!("x".parse::<threadline::TransactionCursor>().is_err());
    assert!("".parse::<threadline::ActionCursor>().is_err());
}

/// A reader can read all of it after `grant_reader`, and before it none.
#[test]
fn rights() {
    let (database, mut conn) = audited();
    let role = format!("reader_{}", database.name());
    let ctx = AuditContext::new(ActorRef::user("ada"));
    let recorded = conn
        .audited_transaction(&ctx, |conn| {
            run(conn, "INSERT INTO users VALUES (1, 'x')");
            NewAction::new("user.made").record(conn)
        })
        .unwrap();
    run(&mut conn, &format!("CREATE ROLE {role}; SET ROLE {role}"));
    let ada = ActorRef::user("ada");
    assert!(
        transactions()
            .actor(&ada)
            .load::<AuditTransaction>(&mut conn)
            .is_err()
    );
    assert!(actions().load::<Action>(&mut conn).is_err());
    assert!(action(recorded.id).load::<Action>(&mut conn).is_err());
    run(
        &mut conn,
        &format!("RESET ROLE; SELECT threadline.grant_reader('{role}'); SET ROLE {role}"),
    );
    for theirs in [
        transactions().actor(&ada),
        transactions(),
        transactions().correlation_id("none").on_behalf_of(&ada),
        transaction(recorded.transaction_id),
    ] {
        ids(&mut conn, theirs);
    }
    assert_eq!(names(&mut conn, action(recorded.id)), ["user.made"]);
    assert_eq!(load(&mut conn, timeline().action_id(recorded.id)).len(), 1);
    let story: Vec<threadline::TimelineEntry<super::User>> =
        super::User::story(1).load(&mut conn).unwrap();
    let typed: Vec<threadline::TimelineEntry<super::User>> =
        super::User::timeline().load(&mut conn).unwrap();
    assert_eq!((story.len(), typed.len()), (1, 1));
    run(
        &mut conn,
        &format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"),
    );
    let error = crate::common::error(
        &mut conn,
        r#"SELECT threadline.transactions('{"actr": 1}')"#,
    );
    assert!(
        error.starts_with("a timeline has no filter 'actr' HINT: There are: action, actor_ref"),
        "{error}"
    );
}

/// The same queries, run by diesel-async.
#[tokio::test]
async fn asynchronous() {
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

    let (database, mut conn) = audited();
    let ctx = AuditContext::new(ActorRef::user("ada"));
    let recorded = NewAction::new("user.made")
        .context(&ctx)
        .record(&mut conn)
        .unwrap();
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let theirs = transactions().actor(&ActorRef::user("ada"));
    let theirs: Vec<AuditTransaction> = RunQueryDsl::load(theirs, &mut conn).await.unwrap();
    let one: AuditTransaction =
        RunQueryDsl::get_result(transaction(recorded.transaction_id), &mut conn)
            .await
            .unwrap();
    assert_eq!(theirs, [one]);
    let one: Action = RunQueryDsl::get_result(action(recorded.id), &mut conn)
        .await
        .unwrap();
    assert_eq!(one.name, "user.made");
}
