//! The real `pgbench` on audited tables: everything it did to them can be told from the audit log alone.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::Command;

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Uuid};
use threadline_test_support::{Database, pg_bin};

use crate::common::{run, text};

pub(crate) const TABLES: [&str; 4] = [
    "pgbench_accounts",
    "pgbench_branches",
    "pgbench_history",
    "pgbench_tellers",
];

/// The tables with a primary key. `pgbench_history` has none.
const KEYED_TABLES: [(&str, &str); 3] = [
    ("pgbench_accounts", "aid"),
    ("pgbench_branches", "bid"),
    ("pgbench_tellers", "tid"),
];

const CLIENTS: usize = 8;
const TRANSACTIONS_PER_CLIENT: usize = 250;

/// Every transaction of eight clients is in the audit log, row for row, captured once a statement.
#[test]
fn statement_granularity() {
    let (database, mut conn) = initialised(&["--initialize"]);
    start_capture(&mut conn, "granularity => 'statement'");
    let transactions = run_clients(&database, &["--protocol=simple"]);
    assert_record_reproduces_tables(&mut conn);
    assert_transactions(&groups(&mut conn), transactions);
}

/// Captured once a row, and by prepared statements, the audit log says the same.
#[test]
fn row_granularity() {
    let (database, mut conn) = initialised(&["--initialize"]);
    start_capture(&mut conn, "granularity => 'row'");
    let transactions = run_clients(&database, &["--protocol=prepared"]);
    assert_record_reproduces_tables(&mut conn);
    assert_transactions(&groups(&mut conn), transactions);
}

/// A partitioned table is one table to the audit log, beside others that are not partitioned.
#[test]
fn partitioned_accounts() {
    let (database, mut conn) =
        initialised(&["--initialize", "--partitions=3", "--partition-method=hash"]);
    start_capture(&mut conn, "granularity => NULL");
    let transactions = run_clients(&database, &[]);
    assert_record_reproduces_tables(&mut conn);
    assert_transactions(&groups(&mut conn), transactions);
}

/// Rows that come through COPY and go through TRUNCATE are recorded one by one, and a primary key that is added
/// later gives the changes before it their keys.
#[test]
fn copy_and_truncate() {
    let (database, mut conn) = initialised(&["--initialize", "--init-steps=dt"]);
    start_capture(&mut conn, "granularity => 'statement'");
    pgbench(&database, &["--initialize", "--init-steps=gvp"]);
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    let transactions = run_clients(&database, &[]);
    // Again, which truncates what is there.
    pgbench(&database, &["--initialize", "--init-steps=g"]);

    assert_record_reproduces_tables(&mut conn);
    let mut groups = groups(&mut conn);
    let regenerated = groups.pop().expect("the second COPY is recorded");
    let generated = groups.remove(0);
    let loaded = [
        "1 insert pgbench_branches".to_owned(),
        "10 insert pgbench_tellers".to_owned(),
        "100000 insert pgbench_accounts".to_owned(),
    ];
    let removed = [
        "100000 truncate pgbench_accounts".to_owned(),
        "1 truncate pgbench_branches".to_owned(),
        format!("{transactions} truncate pgbench_history"),
        "10 truncate pgbench_tellers".to_owned(),
    ];
    assert_eq!(steps(&generated), loaded, "the first COPY");
    assert_eq!(
        steps(&regenerated),
        [&removed[..], &loaded[..]].concat(),
        "TRUNCATE and the second COPY"
    );
    assert_transactions(&groups, transactions);
}

/// A database of its own with pgbench's tables.
pub(crate) fn initialised(arguments: &[&str]) -> (Database, PgConnection) {
    let database = Database::new();
    pgbench(&database, arguments);
    let conn = database.connect();
    (database, conn)
}

/// Puts the tables under capture and keeps what they held then, in the schema `at_start`.
fn start_capture(conn: &mut PgConnection, arguments: &str) {
    run(conn, "CREATE SCHEMA at_start");
    for table in TABLES {
        run(
            conn,
            &format!(
                "SELECT threadline.audit_table('{table}', {arguments});
                 CREATE TABLE at_start.{table} AS TABLE {table}"
            ),
        );
    }
}

/// Runs the TPC-B transactions, and returns how many pgbench says there were.
fn run_clients(database: &Database, arguments: &[&str]) -> usize {
    let clients = format!("--client={CLIENTS}");
    let transactions = format!("--transactions={TRANSACTIONS_PER_CLIENT}");
    let standard = ["--jobs=2", &clients, &transactions];
    let report = pgbench(database, &[&standard[..], arguments].concat());
    let processed = report
        .lines()
        .find_map(|line| line.strip_prefix("number of transactions actually processed: "))
        .and_then(|numbers| numbers.split('/').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("pgbench does not say how many transactions it ran:\n{report}"));
    assert_eq!(
        processed,
        CLIENTS * TRANSACTIONS_PER_CLIENT,
        "transactions that pgbench completed:\n{report}"
    );
    processed
}

/// What pgbench prints. A pgbench that is missing or fails is a failure of the test.
pub(crate) fn pgbench(database: &Database, arguments: &[&str]) -> String {
    // With DATABASE_URL the client programs may stand elsewhere than beside each other.
    let beside_server = pg_bin().join("pgbench");
    let program = if beside_server.is_file() {
        beside_server
    } else {
        "pgbench".into()
    };
    let output = Command::new(program)
        .args(arguments)
        .envs(database.pg_env())
        .env("LC_ALL", "C")
        // Who acts, said by a client that knows nothing of Threadline.
        .env("PGOPTIONS", r#"-c threadline.actor_ref={"type":"job","id":"pgbench"}"#)
        .output()
        .unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!(
                "there is no pgbench in {} nor on PATH. Install it (Debian, Ubuntu: postgresql; Fedora: \
                 postgresql-contrib; macOS: postgresql@17), or name its directory in PG_BIN",
                pg_bin().display()
            ),
            _ => panic!("pgbench does not run: {error}"),
        });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "pgbench {arguments:?} fails:\n{errors}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// From what the tables held at the start, the audit log leads to what they hold now, without a gap.
#[track_caller]
fn assert_record_reproduces_tables(conn: &mut PgConnection) {
    for (table, key) in KEYED_TABLES {
        let gap = text(conn, &first_gap_in_chains(table, key));
        assert_eq!(gap, None, "the first gap in the audit log of {table}");
    }
    let difference = text(conn, &first_difference_in_sums("pgbench_history"));
    assert_eq!(difference, None, "pgbench_history differs from its record");
    let stray = text(conn, STRAYS);
    assert_eq!(
        stray, None,
        "every change has a group and every group a change"
    );
    let split = text(
        conn,
        "SELECT txid FROM threadline.audit_transactions GROUP BY txid HAVING count(*) > 1 LIMIT 1",
    );
    assert_eq!(split, None, "a database transaction is one group");
}

/// SQL for the first place where the image before a change is not the image after the change before it, or where
/// time runs backwards. A chain begins with the row at the start and ends with the live row.
fn first_gap_in_chains(table: &str, key: &str) -> String {
    format!(
        "WITH at_start AS (SELECT {key}::text AS key, to_jsonb(r) AS image FROM at_start.{table} AS r),
              live AS (SELECT {key}::text AS key, to_jsonb(r) AS image FROM {table} AS r),
              changes AS (
                SELECT row_key AS key, id, op || ' ' || id AS name, captured_at,
                       coalesce(data_after || changed_from, changed_from) AS before, data_after AS after
                  FROM threadline.changes WHERE table_name = '{table}'),
              keys AS (SELECT key FROM at_start UNION SELECT key FROM changes UNION SELECT key FROM live),
              links AS (
                SELECT key, 0 AS id, 'the start' AS name, '-infinity'::timestamptz AS captured_at,
                       NULL::jsonb AS before, image AS after FROM keys LEFT JOIN at_start USING (key)
                UNION ALL SELECT * FROM changes
                UNION ALL SELECT key, {now}, 'now', 'infinity', image, NULL FROM keys LEFT JOIN live USING (key))
         SELECT format('{key} %s: after %s (%s) the row is %s, and before %s (%s) it is %s',
                       coalesce(key, 'is missing'), name_before, captured_before, coalesce(after_before::text, 'not there'),
                       name, captured_at, coalesce(before::text, 'not there'))
           FROM (SELECT *, lag(name) OVER chain AS name_before, lag(captured_at) OVER chain AS captured_before,
                        lag(after) OVER chain AS after_before
                   FROM links WINDOW chain AS (PARTITION BY key ORDER BY id)) AS pairs
          WHERE name_before IS NOT NULL
            AND (before IS DISTINCT FROM after_before OR captured_at < captured_before OR key IS NULL)
          ORDER BY id LIMIT 1",
        now = i64::MAX,
    )
}

/// SQL for the first row that the audit log brings in or takes out more often than the table does. Without a key rows
/// have no identity, but there are as many of each as there must be.
fn first_difference_in_sums(table: &str) -> String {
    format!(
        "SELECT format('%s rows %s in the table but not in the audit log', sum(count), image)
           FROM (SELECT to_jsonb(r) AS image, 1 AS count FROM {table} AS r
                 UNION ALL SELECT to_jsonb(r), -1 FROM at_start.{table} AS r
                 UNION ALL SELECT data_after, -1 FROM threadline.changes
                            WHERE table_name = '{table}' AND data_after IS NOT NULL
                 UNION ALL SELECT coalesce(data_after || changed_from, changed_from), 1 FROM threadline.changes
                            WHERE table_name = '{table}' AND changed_from IS NOT NULL) AS sums
          GROUP BY image HAVING sum(count) <> 0 ORDER BY image LIMIT 1"
    )
}

/// The first change without a group, group without a change, or group that is not one of pgbench's.
const STRAYS: &str = "
    SELECT format('change %s, group %s, of %s, by %s', c.id, t.id, t.application_name, t.actor_ref)
      FROM threadline.audit_transactions AS t FULL JOIN threadline.audit_changes AS c ON c.transaction_id = t.id
     WHERE c.id IS NULL OR t.id IS NULL OR c.context IS NOT NULL OR t.application_name IS DISTINCT FROM 'pgbench'
        OR t.actor_ref IS DISTINCT FROM '{\"type\": \"job\", \"id\": \"pgbench\"}' OR t.database_role <> session_user
     ORDER BY c.id LIMIT 1";

/// What a transaction did to a table.
#[derive(Debug, QueryableByName)]
struct Step {
    #[diesel(sql_type = Uuid)]
    transaction_id: uuid::Uuid,
    /// How many changes, their op and table, and the columns that an update changed.
    #[diesel(sql_type = Text)]
    what: String,
    /// By how much a balance changed, or says the history that it did.
    #[diesel(sql_type = Nullable<BigInt>)]
    amount: Option<i64>,
    /// The key of what was updated, or all three that the history names.
    #[diesel(sql_type = Text)]
    keys: String,
}

/// All audit transactions in their order, with what they did in the order in which they did it.
fn groups(conn: &mut PgConnection) -> Vec<Vec<Step>> {
    let steps: Vec<Step> = diesel::sql_query(
        "SELECT transaction_id, concat_ws(' ', count(*), op, table_name, updated) AS what,
                min(coalesce(after ->> 'delta', (
                  (after ->> updated)::bigint - (before ->> updated)::bigint)::text)::bigint) AS amount,
                min(CASE op WHEN 'update' THEN row_key
                    ELSE concat_ws(' ', after ->> 'aid', after ->> 'tid', after ->> 'bid') END) AS keys
           FROM (SELECT transaction_id, id, op, table_name, row_key, data_after AS after, changed_from AS before,
                        CASE op WHEN 'update' THEN array_to_string(changed_fields, ', ') END AS updated
                   FROM threadline.changes) AS changes
          GROUP BY transaction_id, op, table_name, updated ORDER BY min(id)",
    )
    .load(conn)
    .expect("the audit log can be read");
    let mut groups: BTreeMap<_, Vec<Step>> = BTreeMap::new();
    for step in steps {
        groups.entry(step.transaction_id).or_default().push(step);
    }
    groups.into_values().collect()
}

fn steps(group: &[Step]) -> Vec<&str> {
    group.iter().map(|step| step.what.as_str()).collect()
}

/// Each group is one whole TPC-B transaction, and there are as many as pgbench ran.
#[track_caller]
fn assert_transactions(groups: &[Vec<Step>], processed: usize) {
    const BALANCES: [&str; 3] = [
        "1 update pgbench_accounts abalance",
        "1 update pgbench_tellers tbalance",
        "1 update pgbench_branches bbalance",
    ];
    const HISTORY: &str = "1 insert pgbench_history";

    for (position, group) in groups.iter().enumerate() {
        let (history, balances) = group.split_last().expect("a group has steps");
        // One in ten thousand transactions moves an amount of zero, and updates that change nothing leave no trace.
        let balances_changed = match history.amount {
            Some(0) => &[][..],
            _ => &BALANCES[..],
        };
        assert_eq!(
            steps(group),
            [balances_changed, &[HISTORY]].concat(),
            "the changes of group {position}: {group:#?}"
        );
        assert!(
            balances.iter().all(|step| step.amount == history.amount),
            "the amounts of group {position} differ: {group:#?}"
        );
        let keys: Vec<_> = balances.iter().map(|step| step.keys.as_str()).collect();
        assert!(
            balances.is_empty() || keys.join(" ") == history.keys,
            "the history of group {position} names other rows than were updated: {group:#?}"
        );
    }
    assert_eq!(
        groups.len(),
        processed,
        "groups, and transactions that pgbench ran"
    );
}
