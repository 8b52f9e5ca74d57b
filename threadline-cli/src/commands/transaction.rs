use std::io::Write;

use diesel::{OptionalExtension, RunQueryDsl};
use threadline::{AuditTransaction, ExportFormat, TimelineEntry, timeline};

use super::timeline::{entries_table, who};
use crate::Result;
use crate::arguments::{Format, Transaction};
use crate::connection::{Database, wait};
use crate::output::{AtOnce, exact, say, table};

pub(crate) fn run(conn: &mut Database, arguments: &Transaction) -> Result<()> {
    let id = arguments.transaction;
    let transaction = threadline::transaction(id);
    let transaction: Option<AuditTransaction> = transaction.get_result(conn).optional()?;
    let transaction = transaction.ok_or_else(|| format!("there is no transaction {id}"))?;
    match arguments.output.format {
        Format::Csv => {
            let export = timeline().transaction(id).export(ExportFormat::Csv);
            wait(export.write_to(&mut **conn, AtOnce(exact())))?;
        }
        Format::Json => {
            // The numbers of an export are exact, so they are not read again.
            let mut out = exact();
            let transaction = serde_json::to_string(&transaction)?;
            let transaction = ExportFormat::visible_json(&transaction);
            write!(out, "{{\"transaction\":{transaction},\"export\":")?;
            let export = timeline().transaction(id).export(ExportFormat::Json);
            wait(export.write_to(&mut **conn, AtOnce(&mut out)))?;
            writeln!(out, "}}")?;
        }
        Format::Table => print(conn, &transaction)?,
    }
    Ok(())
}

fn print(conn: &mut Database, transaction: &AuditTransaction) -> Result<()> {
    let said = [
        ("transaction", Some(transaction.id.to_string())),
        ("began", Some(transaction.occurred_at.to_rfc3339())),
        (
            "actor",
            Some(who(
                transaction.actor.as_ref(),
                Some(&transaction.database_role),
            )),
        ),
        (
            "on behalf of",
            transaction.on_behalf_of.as_ref().map(ToString::to_string),
        ),
        ("source", transaction.source.clone()),
        ("correlation id", transaction.correlation_id.clone()),
        ("request id", transaction.request_id.clone()),
        ("job id", transaction.job_id.clone()),
        (
            "address",
            transaction.remote_ip.map(|address| address.to_string()),
        ),
        ("meta", transaction.meta.as_ref().map(ToString::to_string)),
    ];
    for (name, value) in said {
        if let Some(value) = value {
            say!("{:>14}: {}", name, value)?;
        }
    }
    if !transaction.actions.is_empty() {
        let mut actions = table(["action", "status", "actor", "reason", "comment"]);
        for action in &transaction.actions {
            actions.add_row([
                action.name.clone(),
                action.status.to_string(),
                action.actor.to_string(),
                action.reason.clone().unwrap_or_default(),
                action.comment.clone().unwrap_or_default(),
            ]);
        }
        say!("")?;
        actions.print()?;
    }
    let changes = timeline().transaction(transaction.id).limit(1000);
    let changes: Vec<TimelineEntry> = changes.load(conn)?;
    say!("")?;
    entries_table(&changes).print()?;
    let count: i64 = timeline()
        .transaction(transaction.id)
        .count()
        .get_result(conn)?;
    if i64::try_from(changes.len())? < count {
        say!(
            "\nThese are {} of {}: see threadline timeline --transaction",
            changes.len(),
            count
        )?;
    }
    Ok(())
}
