//! Which transactions a moment shows: each as a whole, from its last change on.

use diesel::prelude::*;
use threadline_test_support::Database;
use uuid::Uuid;

use super::*;
use crate::common::text;

const ACCOUNTS: &str = "CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL); CREATE TABLE log (text text);
    SELECT threadline.audit_table('accounts'), threadline.audit_table('log');
    INSERT INTO accounts VALUES (1, 100), (2, 100), (3, 100), (4, 100)";

diesel::table! {
    accounts {
        id -> Int4,
        balance -> Int4,
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
struct Account {
    id: i32,
    balance: i32,
}

/// The balances at a time, by the query form and, which must agree, by the row form.
#[track_caller]
fn balances(conn: &mut PgConnection, at: DateTime<Utc>) -> Vec<i32> {
    let rows: Vec<Account> = threadline::as_of(at, accounts::table.order(accounts::id))
        .load(conn)
        .expect("the past can be read");
    for id in 1..=4 {
        let row = Account::as_of(id, at)
            .get_result(conn)
            .expect("the row can be read");
        assert_eq!(
            row.found().as_ref(),
            rows.iter().find(|row| row.id == id),
            "account {id} at {at}"
        );
    }
    rows.into_iter().map(|row| row.balance).collect()
}

fn bank() -> (Database, PgConnection) {
    database(ACCOUNTS)
}

/// A transfer is seen whole or not at all: not between its halves, whatever commits there, and not at once as it ends.
#[test]
fn transfer_is_one() {
    for pause in ["SELECT 1", "SELECT pg_sleep(0.15)", "SELECT pg_sleep(0.3)"] {
        let (database, mut conn) = bank();
        let mut other = database.connect();
        let start = now(&mut conn);
        run(
            &mut conn,
            "BEGIN; UPDATE accounts SET balance = balance - 10 WHERE id = 1",
        );
        let half = now(&mut conn);
        run(
            &mut other,
            "UPDATE accounts SET balance = balance - 50 WHERE id = 3; INSERT INTO log VALUES ('in between')",
        );
        let between = now(&mut conn);
        run(&mut conn, pause);
        run(
            &mut conn,
            "UPDATE accounts SET balance = balance + 10 WHERE id = 2; COMMIT",
        );
        let end = now(&mut conn);
        assert_eq!(balances(&mut conn, start), [100, 100, 100, 100], "{pause}");
        assert_eq!(balances(&mut conn, half), [100, 100, 100, 100], "{pause}");
        assert_eq!(balances(&mut conn, between), [100, 100, 50, 100], "{pause}");
        assert_eq!(balances(&mut conn, end), [90, 110, 50, 100], "{pause}");
    }
}

/// A last change to another table, or to one whose rows have no key, ends a transaction as well.
#[test]
fn last_change_elsewhere() {
    let (_database, mut conn) = bank();
    run(
        &mut conn,
        "BEGIN; UPDATE accounts SET balance = 0 WHERE id = 1",
    );
    let between = now(&mut conn);
    run(
        &mut conn,
        "SELECT pg_sleep(0.2); INSERT INTO log VALUES ('done'); COMMIT",
    );
    let end = now(&mut conn);
    assert_eq!(balances(&mut conn, between), [100, 100, 100, 100]);
    assert_eq!(balances(&mut conn, end), [0, 100, 100, 100]);
    let logged = |conn: &mut PgConnection, at: DateTime<Utc>| {
        let count: i64 = diesel::sql_query("SELECT count(*) FROM threadline.as_of(NULL::log, $1)")
            .bind::<diesel::sql_types::Timestamptz, _>(at)
            .get_result::<Count>(conn)
            .unwrap()
            .count;
        count
    };
    assert_eq!((logged(&mut conn, between), logged(&mut conn, end)), (0, 1));
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

/// What a savepoint took back did not happen at its time: the transaction takes effect at the last change that stayed.
#[test]
fn savepoints() {
    let (_database, mut conn) = bank();
    run(
        &mut conn,
        "BEGIN; UPDATE accounts SET balance = 1 WHERE id = 1; SAVEPOINT s; SELECT pg_sleep(0.15);
        UPDATE accounts SET balance = 2 WHERE id = 1",
    );
    let taken_back = now(&mut conn);
    run(&mut conn, "ROLLBACK TO s");
    let before_commit = now(&mut conn);
    run(&mut conn, "COMMIT");
    assert_eq!(balances(&mut conn, taken_back), [1, 100, 100, 100]);
    assert_eq!(balances(&mut conn, before_commit), [1, 100, 100, 100]);
    let (_database, mut conn) = bank();
    run(
        &mut conn,
        "BEGIN; UPDATE accounts SET balance = 1 WHERE id = 1; SAVEPOINT s; SELECT pg_sleep(0.15);
        UPDATE accounts SET balance = 2 WHERE id = 2; ROLLBACK TO s",
    );
    let between = now(&mut conn);
    run(
        &mut conn,
        "UPDATE accounts SET balance = 3 WHERE id = 3; COMMIT",
    );
    assert_eq!(balances(&mut conn, between), [100, 100, 100, 100]);
}

/// Transactions with a change 125 ms or more after they began are noted, for the `duration_class` of their last change too; no others are.
#[test]
fn long_transactions_are_noted() {
    let (_database, mut conn) = bank();
    run(&mut conn, "BEGIN; UPDATE accounts SET balance = 1; COMMIT");
    run(&mut conn, "BEGIN; SELECT pg_sleep(0.13); UPDATE accounts SET balance = 2; UPDATE accounts SET balance = 3;
        SELECT pg_sleep(0.4); UPDATE accounts SET balance = 4; COMMIT");
    let wrong = "SELECT count(*)
        FROM (SELECT t.id, max(c.captured_at) - t.occurred_at AS lasted
                FROM threadline.audit_transactions AS t JOIN threadline.audit_changes AS c ON c.transaction_id = t.id GROUP BY t.id) AS t
       WHERE (lasted >= interval '125 ms') <> EXISTS (
               SELECT FROM threadline_internal.long_transactions AS l WHERE l.transaction_id = t.id
                  AND lasted < interval '125 ms' * power(2, duration_class) AND lasted >= interval '125 ms' * power(2, duration_class - 1))";
    assert_eq!(text(&mut conn, wrong).unwrap(), "0");
    let noted =
        "SELECT count(DISTINCT duration_class) >= 2 FROM threadline_internal.long_transactions";
    assert_eq!(text(&mut conn, noted).unwrap(), "true");
    let noted = "SELECT duration_class FROM threadline_internal.long_transactions";
    // The bounds of an duration_class, exactly.
    for (elapsed, duration_class) in [
        ("125 ms", 1),
        ("249.999 ms", 1),
        ("250 ms", 2),
        ("999.999 ms", 3),
        ("1 s", 4),
        ("1 day", 20),
    ] {
        let octaves = format!(
            "WITH noted AS (SELECT threadline_internal.note_long_transaction(gen_random_uuid(), transaction_timestamp() + interval '{elapsed}'))
             SELECT count(*) FROM noted"
        );
        run(
            &mut conn,
            &format!("TRUNCATE threadline_internal.long_transactions; {octaves}"),
        );
        assert_eq!(
            text(&mut conn, noted).unwrap(),
            duration_class.to_string(),
            "{elapsed}"
        );
    }
}

/// The bound that tells transactions that began later from others agrees with the ids that transactions get.
#[test]
fn ids_are_in_order_of_time() {
    let (_database, mut conn) = bank();
    run(
        &mut conn,
        "DO 'BEGIN FOR n IN 1 .. 300 LOOP UPDATE accounts SET balance = balance + 1 WHERE id = 1; COMMIT; END LOOP; END'",
    );
    let wrong = "SELECT count(*) FROM threadline.audit_transactions
        WHERE id < threadline.first_id_after(occurred_at - interval '1 microsecond') OR id >= threadline.first_id_after(occurred_at)";
    assert_eq!(text(&mut conn, wrong).unwrap(), "0");
    assert_eq!(
        text(
            &mut conn,
            "SELECT count(*) > 300 FROM threadline.audit_transactions"
        )
        .unwrap(),
        "true"
    );
}

/// Just before a transaction nothing of it is there, just after it all of it is, and nothing that came later.
#[test]
fn before_and_after_a_transaction() {
    let (_database, mut conn) = bank();
    let ctx = AuditContext::new(ActorRef::user("7"));
    let ids: Vec<Uuid> = (1..=3)
        .map(|step| {
            conn.audited_transaction(&ctx, |conn| {
                for id in [1, 2] {
                    diesel::update(accounts::table.find(id))
                        .set(accounts::balance.eq(step * 10 + id))
                        .execute(conn)?;
                }
                conn.audit_transaction_id()
            })
            .unwrap()
            .unwrap()
        })
        .collect();
    let all = || {
        accounts::table
            .select(accounts::balance)
            .filter(accounts::id.le(2))
            .order(accounts::id)
    };
    let before: Vec<i32> = threadline::as_of(threadline::before_transaction(ids[1]), all())
        .load(&mut conn)
        .unwrap();
    let after: Vec<i32> = threadline::as_of_transaction(ids[1], all())
        .load(&mut conn)
        .unwrap();
    assert_eq!((before, after), (vec![11, 12], vec![21, 22]));
    let first: Vec<i32> = threadline::as_of(threadline::before_transaction(ids[0]), all())
        .load(&mut conn)
        .unwrap();
    assert_eq!(first, [100, 100]);
    let row = Account::as_of(1, threadline::after_transaction(ids[0]))
        .get_result(&mut conn)
        .unwrap();
    assert_eq!(row.into_result().unwrap().balance, 11);
    let filtered: Vec<i32> = threadline::as_of_transaction(ids[2], all())
        .filter(accounts::id.eq(2))
        .load(&mut conn)
        .unwrap();
    assert_eq!(filtered, [32]);
    let error = threadline::as_of_transaction(Uuid::nil(), all())
        .load::<i32>(&mut conn)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("there is no audit transaction {}", Uuid::nil())
    );
}

fn settled_at(conn: &mut PgConnection) -> DateTime<Utc> {
    diesel::select(threadline::settled_at())
        .get_result(conn)
        .expect("it can always be told")
}

/// The past is final up to the start of what is in flight, and nothing lands at or before that time.
#[test]
fn settled_at_waits_for_those_in_flight() {
    let (database, mut conn) = bank();
    let mut writer = database.connect();
    let quiet = now(&mut conn);
    assert!(settled_at(&mut conn) > quiet, "nothing is in flight");
    run(
        &mut writer,
        "BEGIN; UPDATE accounts SET balance = 1 WHERE id = 1",
    );
    let change = now(&mut conn);
    let settled = settled_at(&mut conn);
    assert!(
        quiet < settled && settled < change,
        "{quiet} {settled} {change}"
    );
    let seen = balances(&mut conn, settled);
    run(&mut writer, "COMMIT");
    assert_eq!(balances(&mut conn, settled), seen);
    assert!(settled_at(&mut conn) > change);
    // A session may not say when it began.
    run(
        &mut writer,
        "SET track_activities = off; BEGIN; UPDATE accounts SET balance = 1 WHERE id = 4",
    );
    let change = now(&mut conn);
    assert!(settled_at(&mut conn) < change);
    run(&mut writer, "COMMIT; RESET track_activities");
    // A transaction of one's own is in flight as well; one that only reads is not.
    run(&mut writer, "BEGIN; SELECT * FROM accounts");
    let reading = now(&mut conn);
    assert!(settled_at(&mut conn) > reading);
    run(&mut conn, "BEGIN");
    let begun = now(&mut conn);
    run(&mut conn, "UPDATE accounts SET balance = 2 WHERE id = 2");
    assert!(settled_at(&mut conn) < begun);
    run(&mut conn, "COMMIT");
    // A snapshot that stays does not see what commits meanwhile.
    run(
        &mut conn,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM accounts",
    );
    let snapshot = now(&mut conn);
    run(
        &mut writer,
        "COMMIT; UPDATE accounts SET balance = 3 WHERE id = 3",
    );
    assert!(settled_at(&mut conn) < snapshot);
    run(&mut conn, "COMMIT");
}

/// A prepared transaction is in flight until it is committed, though no session has it; so is one whose session may not
/// be looked at. Their start is not told, but a bound for it is.
#[test]
fn settled_at_bounds_what_it_cannot_see() {
    let (database, mut conn) = bank();
    let mut other = database.connect();
    run(&mut other, "UPDATE accounts SET balance = 1 WHERE id = 4");
    let before = now(&mut conn);
    run(&mut other, "UPDATE accounts SET balance = 2 WHERE id = 4");
    run(
        &mut other,
        "BEGIN; UPDATE accounts SET balance = 3 WHERE id = 1; PREPARE TRANSACTION 'prepared by settled_at_bounds'",
    );
    let prepared = now(&mut conn);
    run(&mut other, "UPDATE accounts SET balance = 4 WHERE id = 2");
    let settled = settled_at(&mut conn);
    assert!(
        before < settled && settled < prepared,
        "{before} {settled} {prepared}"
    );
    let seen = balances(&mut conn, settled);
    run(&mut conn, "COMMIT PREPARED 'prepared by settled_at_bounds'");
    assert_eq!(balances(&mut conn, settled), seen);
    assert_eq!(balances(&mut conn, prepared), [3, 100, 100, 2]);

    let role = format!("{}_owner", database.name());
    run(&mut conn, &format!("CREATE ROLE \"{role}\"; GRANT USAGE ON SCHEMA threadline TO \"{role}\"; GRANT SELECT ON threadline.audit_transactions, threadline.audited_tables TO \"{role}\";
        ALTER FUNCTION threadline.settled_at() OWNER TO \"{role}\""));
    let mut writer = database.connect();
    run(
        &mut writer,
        "BEGIN; UPDATE accounts SET balance = 5 WHERE id = 1",
    );
    let written = now(&mut conn);
    let settled = settled_at(&mut conn);
    // How far back depends on who else, unseen, is in flight on this server.
    assert!(settled < written, "{settled} {written}");
    run(&mut writer, "COMMIT");
    run(
        &mut conn,
        &format!(
            "REASSIGN OWNED BY \"{role}\" TO CURRENT_USER; DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""
        ),
    );
}
