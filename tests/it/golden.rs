//! The queries of `docs/incidents.md`, on a record of which they tell something: each answers as it did, and does not read it all.
//!
//! After a change that is meant: `INSTA_UPDATE=always cargo test --all-features --test it golden`, and read the difference.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use diesel::PgConnection;
use threadline_test_support::{Database, pg_bin};

use crate::common::{database, run};

const TABLES: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text);
    CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL, status text NOT NULL, total numeric(10, 2) NOT NULL);
    SELECT threadline.audit_table('customers'), threadline.audit_table('orders');
    UPDATE threadline.audited_tables SET capture_since = '2026-02-28'";

/// Two days, in order: when, who in which context, what they did, and for how many seconds. The second of March is a Monday.
const DAYS: [(&str, &str, &str, &str, u32); 10] = [
    (
        "2026-03-01 07:00Z",
        r#"{"type": "system", "id": "import"}"#,
        r#"{"source": "import"}"#,
        "INSERT INTO customers VALUES (7, 'Grace', 'grace@example.com'), (8, 'Linus', NULL), (9, 'Joan', 'joan@example.com');
         INSERT INTO orders SELECT n, 7 + n % 3, 'open', n * 10 FROM generate_series(1, 8) AS n",
        0,
    ),
    (
        "2026-03-02 08:30Z",
        r#"{"type": "user", "id": "ada"}"#,
        r#"{"source": "PATCH /customers/{id}"}"#,
        "UPDATE customers SET email = 'grace@navy.example' WHERE id = 7",
        0,
    ),
    (
        "2026-03-02 09:10Z",
        r#"{"type": "user", "id": "eve"}"#,
        r#"{"source": "POST /orders", "correlation_id": "checkout-77"}"#,
        "INSERT INTO orders VALUES (9, 8, 'open', 99.90); UPDATE customers SET email = 'linus@example.com' WHERE id = 8;
         SELECT threadline.record_action('order.placed')",
        0,
    ),
    (
        "2026-03-02 10:00Z",
        r#"{"type": "user", "id": "eve"}"#,
        r#"{"source": "DELETE /orders"}"#,
        "DELETE FROM orders WHERE id <= 4",
        0,
    ),
    (
        "2026-03-02 10:30Z",
        "",
        "",
        "UPDATE orders SET total = 0 WHERE id = 5; DELETE FROM orders WHERE id = 8",
        0,
    ),
    (
        "2026-03-02 11:00Z",
        r#"{"type": "admin", "id": "ada"}"#,
        r#"{"source": "PATCH /orders/{id}", "on_behalf_of": {"type": "user", "id": "grace"}}"#,
        "UPDATE orders SET total = 5000 WHERE id = 6; SELECT threadline.record_action('limit.overridden', reason => 'approved by phone')",
        0,
    ),
    (
        "2026-03-02 11:05Z",
        r#"{"type": "user", "id": "eve"}"#,
        "",
        "SELECT threadline.record_action('payment.refunded', status => 'error', comment => 'the bank said no')",
        0,
    ),
    (
        "2026-03-02 13:00Z",
        r#"{"type": "job", "id": "nightly"}"#,
        r#"{"source": "nightly"}"#,
        "UPDATE orders SET status = 'shipped'; UPDATE orders SET status = 'paid', total = total + 1 WHERE id = 9",
        90,
    ),
    (
        "2026-03-02 22:30Z",
        r#"{"type": "user", "id": "eve"}"#,
        r#"{"source": "PATCH /customers/{id}"}"#,
        "UPDATE customers SET name = 'Grace Hopper' WHERE id = 7",
        0,
    ),
    (
        "2026-03-03 09:00Z",
        "",
        "",
        r#"SELECT threadline.redact_step('customers', '{9}', mask => '{email}', actor_ref => '{"type": "admin", "id": "dpo"}', reason => 'erasure request 12')"#,
        0,
    ),
];

/// The transaction that was just committed becomes one of another time, statements 10 ms apart.
const REDATE: &str = "
    CREATE FUNCTION redate(at timestamptz, lasts int) RETURNS void LANGUAGE sql AS $$
      UPDATE threadline.audit_changes AS c SET transaction_id = threadline.first_id_after(at - interval '1 us'),
             captured_at = at + n.n * interval '10 ms' + CASE WHEN n.n > 1 THEN lasts ELSE 0 END * interval '1 s'
        FROM (SELECT id, dense_rank() OVER (ORDER BY captured_at) AS n FROM threadline.audit_changes WHERE transaction_id = (SELECT id FROM threadline.audit_transactions ORDER BY txid DESC LIMIT 1)) AS n
       WHERE c.id = n.id;
      UPDATE threadline.audit_actions SET id = threadline.first_id_after(at), occurred_at = at + interval '50 ms',
             transaction_id = threadline.first_id_after(at - interval '1 us') WHERE transaction_id = (SELECT id FROM threadline.audit_transactions ORDER BY txid DESC LIMIT 1);
      UPDATE threadline.audit_transactions SET id = threadline.first_id_after(at - interval '1 us'), occurred_at = at WHERE id = (SELECT id FROM threadline.audit_transactions ORDER BY txid DESC LIMIT 1);
      INSERT INTO threadline_internal.long_transactions
        SELECT length(ltrim((lasts * 8)::bit(64)::text, '0')), at, threadline.first_id_after(at - interval '1 us') WHERE lasts > 0
    $$";

/// What was there long before, so that it does not pay to read it all.
const BEFORE: &str = "
    INSERT INTO threadline.audit_transactions (id, txid, occurred_at, actor_ref, database_role)
      SELECT threadline.first_id_after(at), pg_current_xact_id(), at, jsonb_build_object('type', 'user', 'id', 'u' || n % 500), 'app'
        FROM (SELECT n, '2026-01-01'::timestamptz + n * interval '30 s' AS at FROM generate_series(1, 20000) AS n) AS t;
    INSERT INTO threadline.audit_changes (transaction_id, table_id, op, captured_at, key_integer, data_after, changed_from)
      SELECT t.id, 1 + k % 2, 'update', t.occurred_at + interval '1 ms', 1000 + k, jsonb_build_object('id', 1000 + k, 'status', 'open'), '{\"status\": \"new\"}'
        FROM threadline.audit_transactions AS t CROSS JOIN generate_series(1, 3) AS k WHERE t.occurred_at < '2026-02-01';
    INSERT INTO threadline.audit_actions (id, name, occurred_at, actor_ref, status, transaction_id)
      SELECT t.id, 'order.placed', t.occurred_at, t.actor_ref, 'ok', t.id FROM threadline.audit_transactions AS t WHERE t.occurred_at < '2026-02-01';
    ANALYZE threadline.audit_changes, threadline.audit_transactions, threadline.audit_actions, threadline_internal.long_transactions, customers, orders";

/// One reads a month, and says so; how the timeline reads has tests of its own.
fn reads_much(sql: &str) -> bool {
    sql.contains("pg_column_size") || sql.contains("threadline.timeline(")
}

/// The audit log of those days, and a role that may read it.
fn recorded() -> (Database, PgConnection, String) {
    let (database, mut conn) = database(TABLES);
    run(&mut conn, REDATE);
    for (at, actor, context, sql, lasts) in DAYS {
        run(
            &mut conn,
            &format!(
                "BEGIN; SELECT set_config('threadline.actor_ref', '{actor}', true), set_config('threadline.context', '{context}', true)"
            ),
        );
        // Each a statement of its own, with a time of its own.
        for statement in sql.split(';') {
            run(&mut conn, statement);
        }
        run(&mut conn, "COMMIT");
        run(&mut conn, &format!("SELECT redate('{at}', {lasts})"));
    }
    let reader = format!("{}_reader", database.name());
    let grant = format!(
        r#"CREATE ROLE "{reader}"; SELECT threadline.grant_reader('"{reader}"'); GRANT SELECT ON customers, orders TO "{reader}""#
    );
    run(&mut conn, &grant);
    (database, conn, reader)
}

/// What the guide asks, and how: the headings with the blocks of SQL that follow.
fn queries() -> Vec<(String, String)> {
    let guide = std::fs::read_to_string("docs/incidents.md").unwrap();
    let sections = guide.split("\n## ").skip(1);
    let query = |section: &str| {
        let heading = section.lines().next().unwrap().to_owned();
        let (_, sql) = section.split_once("```sql\n").expect("it has a query");
        let (sql, rest) = sql.split_once("```").expect("the query ends");
        assert!(!rest.contains("```"), "{heading}: one query a section");
        (heading, sql.to_owned())
    };
    sections.map(query).collect()
}

fn psql(database: &Database, role: Option<&str>, sql: &str) -> String {
    let role = role.map_or(String::new(), |role| format!(" -c role={role}"));
    let mut psql = Command::new(pg_bin().join("psql"))
        .args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-P",
            "pager=off",
            "-P",
            "null=∅",
        ])
        .envs(database.pg_env())
        .env(
            "PGOPTIONS",
            format!("-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres{role}"),
        )
        .env("PGCLIENTENCODING", "UTF8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    psql.stdin
        .take()
        .unwrap()
        .write_all(sql.as_bytes())
        .unwrap();
    let output = psql.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}\nin: {sql}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// Each query runs as it stands there, and tells what it is for.
#[test]
fn answers() {
    let (database, mut conn, reader) = recorded();
    let mut answers = String::new();
    let queries = queries();
    assert!(queries.len() >= 15, "{}", queries.len());
    for (heading, sql) in queries {
        let role = sql.starts_with("SELECT").then_some(&*reader);
        write!(answers, "{heading}\n\n{}\n", psql(&database, role, &sql)).unwrap();
    }
    run(
        &mut conn,
        &format!(r#"DROP OWNED BY "{reader}"; DROP ROLE "{reader}""#),
    );
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("incidents", answers);
    });
}

/// On a record that has much more in it, none reads all of it.
#[test]
fn by_the_indexes() {
    let (database, mut conn, reader) = recorded();
    run(&mut conn, BEFORE);
    for (heading, sql) in queries() {
        if !sql.starts_with("SELECT") || reads_much(&sql) {
            continue;
        }
        let plan = psql(&database, Some(&reader), &format!("EXPLAIN {sql}"));
        for table in [
            "audit_changes_default",
            "audit_transactions",
            "audit_actions",
        ] {
            assert!(
                !plan.contains(&format!("Seq Scan on {table}")),
                "{heading} reads all of {table}:\n{plan}"
            );
        }
    }
    run(
        &mut conn,
        &format!(r#"DROP OWNED BY "{reader}"; DROP ROLE "{reader}""#),
    );
}
