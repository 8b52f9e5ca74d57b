//! Many clients, few server connections, and everything that can happen to a transaction.

use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use diesel::prelude::*;
use diesel::sql_types::Text;
use threadline_test_support::{Database, needs};
use tokio::runtime;

use super::clients::{Done, SEED, asynchronous, synchronous};
use super::plan::{Outcome, WORK};
use super::pool;
use crate::common::{database, run, text};

const ASYNCHRONOUS: i32 = 24;
const SYNCHRONOUS: i32 = 8;
const TRANSACTIONS: i32 = 1000;
const SERVER_CONNECTIONS: usize = 6;

/// Of a hundred transactions of an asynchronous client.
const CANCELLED: u32 = 4;

/// With 32 clients on 6 server connections, through commits, errors, panics and cancellations, every change carries
/// the actor of its own transaction, and those that have none, none; and every transaction is there whole or not at all.
#[needs(pgbouncer)]
#[test]
fn everyones_changes_are_their_own() {
    let (database, mut conn) = database(WORK);
    let start = Instant::now();
    let done = run_clients(&database);
    let clients = start.elapsed();
    let counts = tell(&mut conn, &done);
    for (rule, violation) in RULES {
        assert_eq!(
            text(&mut conn, violation),
            None,
            "the first violation of: {rule}"
        );
    }
    let number =
        |conn: &mut PgConnection, sql: &str| -> usize { text(conn, sql).unwrap().parse().unwrap() };
    let backends = number(&mut conn, "SELECT count(DISTINCT backend) FROM seen");
    let shared = number(&mut conn, SHARED_BACKENDS);
    let chances = number(&mut conn, CHANCES);
    let unknown = number(
        &mut conn,
        "SELECT count(DISTINCT (client, number)) FROM told JOIN seen USING (client, number) WHERE outcome = 'Cancelled'",
    );
    let actions = number(&mut conn, "SELECT count(*) FROM threadline.audit_actions");
    assert!(actions > 5_000, "{actions} actions");
    println!(
        "seed {SEED}: {clients:?} of {:?}; {counts:?}; {actions} actions; {unknown} of the cancelled are there; {backends} server connections, {shared} of \
         them of several clients; {chances} times nobody's transaction came after somebody else's",
        start.elapsed()
    );
    // Each transaction that is given up midway costs PgBouncer a server connection, and nothing else does.
    let given_up = counts[&Outcome::Cancelled] + counts[&Outcome::Panicked];
    assert!(
        backends <= SERVER_CONNECTIONS + given_up,
        "{backends} server connections, {given_up} given up"
    );
    assert!(
        shared >= SERVER_CONNECTIONS && chances > 1000,
        "{shared} shared, {chances} chances"
    );
    for (outcome, least) in [
        (Outcome::Cancelled, 250),
        (Outcome::Committed, 20_000),
        (Outcome::Failed, 2_000),
        (Outcome::Panicked, 150),
    ] {
        assert!(counts[&outcome] >= least, "too few to tell: {counts:?}");
    }
}

fn run_clients(database: &Database) -> Done {
    let pgbouncer = &database.pgbouncer(SERVER_CONNECTIONS);
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..ASYNCHRONOUS)
        .map(|client| {
            runtime.spawn(asynchronous::run(
                pool(pgbouncer),
                client,
                TRANSACTIONS,
                CANCELLED,
            ))
        })
        .collect();
    let clients = ASYNCHRONOUS..ASYNCHRONOUS + SYNCHRONOUS;
    let mut done: Done = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .map(|client| scope.spawn(move || synchronous::run(pgbouncer, client, TRANSACTIONS)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    for task in tasks {
        done.extend(runtime.block_on(task).unwrap());
    }
    done
}

/// Puts what the clients saw beside what the audit log says.
fn tell(conn: &mut PgConnection, done: &Done) -> BTreeMap<Outcome, usize> {
    let mut counts = BTreeMap::new();
    for (_, outcome) in done {
        *counts.entry(*outcome).or_default() += 1;
    }
    run(
        conn,
        "CREATE TABLE told (client int, number int, part int, outcome text, actor text, group_actor text, PRIMARY KEY (client, number, part))",
    );
    let told: Vec<_> = done
        .iter()
        .flat_map(|(transaction, outcome)| transaction.told(*outcome))
        .collect();
    diesel::sql_query(
        "INSERT INTO told SELECT r.* FROM json_populate_recordset(NULL::told, $1::json) AS r",
    )
    .bind::<Text, _>(serde_json::to_string(&told).unwrap())
    .execute(conn)
    .unwrap();
    run(conn, SEEN);
    counts
}

/// The lock waits for transactions whose `COMMIT` was on its way when they were cancelled.
const SEEN: &str = "
    BEGIN; LOCK TABLE work IN SHARE MODE; COMMIT;
    CREATE TABLE seen AS
    SELECT r.client, r.number, r.part, r.meant, r.backend, c.actor_ref, c.correlation_id, c.transaction_id, c.op, c.id
      FROM threadline.changes AS c, jsonb_populate_record(NULL::work, c.data_after) AS r WHERE c.table_name = 'work';
    CREATE INDEX ON seen (client, number, part); ANALYZE seen; ANALYZE told; ANALYZE threadline.audit_actions";

/// SQL for the first violation of each rule.
const RULES: [(&str, &str); 11] = [
    (
        "a change is one that its client made, and carries what it said",
        "SELECT format('%s, told: %s', s, t) FROM seen AS s LEFT JOIN told AS t USING (client, number, part)
          WHERE t.client IS NULL OR s.meant IS DISTINCT FROM t.actor
             OR s.actor_ref IS DISTINCT FROM jsonb_build_object('type', 'user', 'id', t.actor) AND t.actor IS NOT NULL
             OR s.correlation_id IS DISTINCT FROM t.actor || '/' || t.number LIMIT 1",
    ),
    (
        "a change made without a context carries none",
        "SELECT s FROM seen AS s WHERE meant IS NULL AND num_nonnulls(actor_ref, correlation_id) > 0 LIMIT 1",
    ),
    (
        "what the client saw committed is there",
        "SELECT t FROM told AS t LEFT JOIN seen AS s USING (client, number, part) WHERE outcome = 'Committed' AND s.client IS NULL LIMIT 1",
    ),
    (
        "what failed or panicked left nothing",
        "SELECT t FROM told AS t JOIN seen AS s USING (client, number, part) WHERE outcome IN ('Failed', 'Panicked') LIMIT 1",
    ),
    (
        "what was cancelled is there whole or not at all",
        "SELECT format('%s/%s', client, number) FROM told AS t LEFT JOIN seen AS s USING (client, number, part)
          WHERE outcome = 'Cancelled' GROUP BY client, number HAVING count(s.client) NOT IN (0, count(*)) LIMIT 1",
    ),
    (
        "everything is there once",
        "SELECT format('%s/%s/%s', client, number, part) FROM seen GROUP BY client, number, part HAVING count(*) > 1 LIMIT 1",
    ),
    (
        "a group is one transaction of one client, and a transaction one group",
        "SELECT format('%s of %s', transaction_id, client) FROM (
            SELECT transaction_id, client, count(*) OVER (PARTITION BY transaction_id) AS transactions, count(*) OVER (PARTITION BY client, number) AS groups
              FROM (SELECT DISTINCT transaction_id, client, number FROM seen) AS pairs) AS counted
          WHERE transactions > 1 OR groups > 1 LIMIT 1",
    ),
    (
        "a group carries what was said when it began",
        "SELECT format('%s, told: %s', g, t) FROM threadline.audit_transactions AS g JOIN seen AS s ON s.transaction_id = g.id
           JOIN told AS t USING (client, number, part)
          WHERE g.actor_ref ->> 'id' IS DISTINCT FROM t.group_actor OR g.correlation_id IS DISTINCT FROM t.group_actor || '/' || t.number LIMIT 1",
    ),
    (
        "an action is of the actor of its change, and in the group of it",
        "SELECT format('%s, change: %s', a, s) FROM threadline.audit_actions AS a
           LEFT JOIN seen AS s ON (s.client, s.number, s.part) = ((meta ->> 'client')::int, (meta ->> 'number')::int, (meta ->> 'part')::int)
          WHERE (a.actor_ref, a.correlation_id, a.transaction_id) IS DISTINCT FROM (s.actor_ref, s.correlation_id, s.transaction_id) LIMIT 1",
    ),
    (
        "an action is there once for each change that it was recorded beside",
        "SELECT s FROM seen AS s WHERE op = 'update' AND part = 0 AND meant IS NOT NULL AND (SELECT count(*) FROM threadline.audit_actions AS a
            WHERE a.transaction_id = s.transaction_id) <> 1 LIMIT 1",
    ),
    (
        "the table holds what the audit log says",
        "SELECT format('%s, seen: %s', w, s) FROM (SELECT * FROM work WHERE slot > 0) AS w
           FULL JOIN (SELECT * FROM seen WHERE op = 'insert') AS s USING (client, number, part) WHERE w.client IS NULL OR s.client IS NULL LIMIT 1",
    ),
];

const SHARED_BACKENDS: &str = "SELECT count(*) FROM (SELECT FROM seen GROUP BY backend HAVING count(DISTINCT client) > 1) AS shared";

/// How often a context could have leaked: a change without one comes next on its server connection after a change of
/// another client that has one.
const CHANCES: &str = "
    SELECT count(*) FROM (SELECT client, meant, lag(client) OVER w AS client_before, lag(meant) OVER w AS meant_before
                            FROM seen WINDOW w AS (PARTITION BY backend ORDER BY id)) AS neighbours
     WHERE meant IS NULL AND meant_before IS NOT NULL AND client <> client_before";
