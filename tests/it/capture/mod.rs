//! The nine laws of capture, each in the file named after it, with tests that try to break it.

mod both_ways;
mod canonical;
mod elsewhere;
mod exact;
mod extensions;
mod generated;
mod goes_on;
mod guide;
mod hostile;
mod keys;
mod moves;
mod names;
mod never_in_the_way;
mod never_missed;
mod no_cascade;
mod one_group;
mod order;
mod partitions;
mod pooler_safe;
mod redaction;
mod refused;
mod safe;
mod stale_definitions;
mod types;

use std::process::{Command, Stdio};

use diesel::pg::PgConnection;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, RunQueryDsl};
use threadline_test_support::{Database, pg_bin};

use crate::common::{run, text};

/// Both ways of capture; what holds, holds for both.
const GRANULARITIES: [&str; 2] = ["statement", "row"];

/// The settings capture writes under, for comparisons with what is there now.
const PINNED: &str =
    "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = 'postgres';
    SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'";

/// Where the audit log of a table contradicts itself or the table: per key, the image before a change is not the one
/// after the change before it, or the newest one is not the live row.
const GAPS: &str = r"
    WITH change AS (
      SELECT c.id, coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text) AS key, c.op, c.data_after,
             CASE WHEN c.op = 'update' THEN c.data_after || c.changed_from ELSE c.changed_from END AS data_before
        FROM threadline.audit_changes AS c
        JOIN threadline.audited_tables AS t ON t.id = c.table_id
       WHERE t.relation = '{table}'::regclass
    ), chain AS (
      SELECT *, lag(id) OVER w AS previous_id, lag(data_after) OVER w AS previous, lead(id) OVER w IS NULL AS newest
        FROM change WHERE key IS NOT NULL WINDOW w AS (PARTITION BY key ORDER BY id)
    ), live AS (
      SELECT to_jsonb(t.*) AS image FROM {table} AS t
    )
    SELECT format('%s %s of %s: was %s, is now %s', id, op, key, previous, data_before) AS value FROM chain
     WHERE data_before IS DISTINCT FROM previous AND (previous_id IS NOT NULL OR op = 'insert')
    UNION ALL
    SELECT format('recorded, not there: %s', image)
      FROM (SELECT data_after AS image FROM chain WHERE newest AND data_after IS NOT NULL EXCEPT ALL SELECT image FROM live) AS i
    UNION ALL
    SELECT format('there, not recorded: %s', image)
      FROM (SELECT image FROM live EXCEPT ALL SELECT data_after FROM chain WHERE newest) AS i
     WHERE EXISTS (SELECT FROM chain)
    UNION ALL
    SELECT format('change %s without transaction', c.id) FROM threadline.audit_changes AS c
     WHERE NOT EXISTS (SELECT FROM threadline.audit_transactions AS t WHERE t.id = c.transaction_id)
    UNION ALL
    SELECT format('transaction %s without change', t.id) FROM threadline.audit_transactions AS t
     WHERE NOT EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.transaction_id = t.id)";

/// Every key's images chain without a gap, the newest is the live row, and no transaction stands without changes.
/// For tables that were audited while they were empty.
#[track_caller]
fn assert_no_gap(conn: &mut PgConnection, table: &str) {
    run(conn, &format!("BEGIN; {PINNED}"));
    let gaps = texts(conn, &GAPS.replace("{table}", table));
    run(conn, "COMMIT");
    assert!(gaps.is_empty(), "{table}:\n{}", gaps.join("\n"));
}

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = Text)]
    value: String,
}

/// The column `value` of a query.
#[track_caller]
fn texts(conn: &mut PgConnection, sql: &str) -> Vec<String> {
    let rows: Vec<Value> = sql_query(sql)
        .load(conn)
        .unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
    rows.into_iter().map(|row| row.value).collect()
}

/// The changes of a table in order, as `op key` or `op key>moved_key`.
#[track_caller]
fn ops(conn: &mut PgConnection, table: &str) -> Vec<String> {
    texts(
        conn,
        &format!(
            "SELECT concat(v.op, ' ' || v.row_key, '>' || v.moved_key) AS value
               FROM threadline.changes AS v JOIN threadline.audited_tables AS t ON t.id = v.table_id
              WHERE t.relation = '{table}'::regclass ORDER BY v.id"
        ),
    )
}

/// A number.
#[track_caller]
fn count(conn: &mut PgConnection, sql: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        value: i64,
    }
    let row: Count = sql_query(format!("SELECT ({sql})::bigint AS value"))
        .get_result(conn)
        .unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
    row.value
}

/// Audits a table with a granularity.
#[track_caller]
fn audit(conn: &mut PgConnection, table: &str, granularity: &str) {
    run(
        conn,
        &format!("SELECT threadline.audit_table('{table}', granularity => '{granularity}')"),
    );
}

/// Runs a script in `psql`, as a person would.
#[track_caller]
pub(crate) fn psql(database: &Database, script: &str) {
    use std::io::Write;
    let mut child = Command::new(pg_bin().join("psql"))
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"])
        .envs(database.pg_env())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin
        .write_all(script.as_bytes())
        .expect("psql reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("psql ends");
    assert!(
        output.status.success(),
        "{}\nin: {script}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Everything the audit log holds anywhere, as one text.
fn whole_record(conn: &mut PgConnection) -> String {
    text(
        conn,
        "SELECT concat((SELECT string_agg(t::text, E'\\n') FROM threadline.audit_transactions AS t),
                       (SELECT string_agg(c::text, E'\\n') FROM threadline.audit_changes AS c),
                       (SELECT string_agg(a::text, E'\\n') FROM threadline.audit_actions AS a))",
    )
    .unwrap_or_default()
}
