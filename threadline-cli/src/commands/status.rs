use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, RunQueryDsl};
use indicatif::HumanBytes;
use serde_json::{Map, Value, json};
use threadline::{CoverageState, Severity, StorageUsage};

use crate::Result;
use crate::arguments::{Format, Output};
use crate::connection::{Database, wait};
use crate::output::{self, cell, print, say, table};

#[derive(QueryableByName)]
struct Kept {
    #[diesel(sql_type = Text)]
    server_version: String,
    #[diesel(sql_type = BigInt)]
    policies: i64,
    #[diesel(sql_type = BigInt)]
    holds: i64,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    purged_before: Option<DateTime<Utc>>,
}

const KEPT: &str = "
    SELECT current_setting('server_version') AS server_version, (SELECT count(*) FROM threadline.retention_policies) AS policies,
           (SELECT count(*) FROM threadline.legal_holds) AS holds, (SELECT max(purged_before) FROM threadline.audited_tables) AS purged_before";

pub(crate) fn run(conn: &mut Database, output: &Output) -> Result<()> {
    let health = wait(threadline::check_health(&mut **conn))?;
    let mut status = vec![("version", json!(env!("CARGO_PKG_VERSION")))];
    let pending = health.pending_migrations.as_ref().map(Vec::len);
    if pending.is_none_or(|pending| pending == 0) {
        let tables: Vec<threadline::TableCoverage> = threadline::coverage().load(conn)?;
        let kept: Kept = diesel::sql_query(KEPT).get_result(conn)?;
        let of = |state| tables.iter().filter(|table| table.state == state).count();
        let storage = &health.figures.storage;
        let last = health
            .figures
            .captures
            .iter()
            .filter_map(|table| table.last_captured_at)
            .max();
        status.extend([
            ("server_version", json!(kept.server_version)),
            ("audited_tables", json!(of(CoverageState::Audited))),
            ("exempt_tables", json!(of(CoverageState::Exempt))),
            ("uncovered_tables", json!(of(CoverageState::Uncovered))),
            (
                "changes_estimate",
                json!(changes(storage).map(|part| part.row_estimate).sum::<i64>()),
            ),
            ("record_bytes", json!(health.figures.total_bytes())),
            ("last_change_at", json!(last.map(|last| last.to_rfc3339()))),
            ("retention_policies", json!(kept.policies)),
            ("legal_holds", json!(kept.holds)),
            (
                "purged_before",
                json!(kept.purged_before.map(|at| at.to_rfc3339())),
            ),
        ]);
    }
    let count = |severity| {
        health
            .problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    };
    status.extend([
        ("pending_migrations", json!(pending)),
        ("errors", json!(count(Severity::Error))),
        ("warnings", json!(count(Severity::Warning))),
    ]);
    match output.format {
        Format::Csv => print(
            Format::Csv,
            ["status", "value"],
            status.into_iter().map(|(name, value)| [json!(name), value]),
        ),
        Format::Json => {
            let months: Vec<_> = changes(&health.figures.storage).map(month).collect();
            status.push(("partitions", json!(months)));
            let status: Map<_, _> = status
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            output::json(&status.into())
        }
        Format::Table => page(&status, &health),
    }
}

/// The partitions that have something, in the order of time.
fn changes(storage: &[StorageUsage]) -> impl Iterator<Item = &StorageUsage> {
    let is_partition = |part: &&StorageUsage| part.table_name.starts_with("audit_changes_");
    storage
        .iter()
        .filter(is_partition)
        .filter(|part| part.row_estimate > 0)
}

fn month(part: &StorageUsage) -> Value {
    json!({"partition": part.table_name, "changes_estimate": part.row_estimate, "bytes": part.total_bytes})
}

fn page(status: &[(&str, Value)], health: &threadline::Health) -> Result<()> {
    for (name, value) in status {
        let value = match value {
            Value::Null if *name == "pending_migrations" => {
                "unknown: they were not run by Diesel".to_owned()
            }
            Value::Null => "none".to_owned(),
            Value::Number(bytes) if *name == "record_bytes" => {
                HumanBytes(bytes.as_u64().unwrap_or(0)).to_string()
            }
            other => cell(other),
        };
        say!("{:20} {}", name.replace('_', " "), value)?;
    }
    let mut growth = table(["partition", "changes, about", "size"]);
    for part in changes(&health.figures.storage) {
        let size = HumanBytes(part.total_bytes.unsigned_abs()).to_string();
        growth.add_row([part.table_name.clone(), part.row_estimate.to_string(), size]);
    }
    if !growth.is_empty() {
        say!("")?;
        growth.print()?;
    }
    for problem in &health.problems {
        let of = problem
            .table_name
            .as_deref()
            .map(|table| format!(" {table}:"))
            .unwrap_or_default();
        let severity = problem.severity.as_str();
        say!("\n{}:{} {}", severity, of, problem.message)?;
        say!("    {}", problem.hint)?;
    }
    Ok(())
}
