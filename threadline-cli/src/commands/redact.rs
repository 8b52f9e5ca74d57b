use std::process::ExitCode;

use serde_json::json;
use threadline::{Redaction, RedactionPlan};

use crate::Result;
use crate::arguments::{Format, Redact};
use crate::connection::{Database, wait};
use crate::output::{note, print, say};
use crate::progress::Progress;

pub(crate) fn run(conn: &mut Database, arguments: &Redact) -> Result<ExitCode> {
    let mut redaction = threadline::redact(&arguments.table)
        .keys(&arguments.keys)
        .mask(&arguments.mask)
        .remove(&arguments.remove)
        .batch_size(arguments.batch_size);
    for (column, value) in &arguments.substitute {
        redaction = redaction.substitute(column, value.clone());
    }
    let plan = wait(redaction.clone().plan(&mut **conn))?;
    if !plan.unknown_keys.is_empty() {
        note!("Nothing is recorded of: {}", plan.unknown_keys.join(" "));
    }
    let found = plan.changes > 0;
    if !arguments.mode.apply {
        show(arguments, &plan)?;
    } else if found {
        apply(conn, arguments, redaction)?;
    } else {
        note!("There is nothing to redact, so nothing was done or recorded");
    }
    Ok(if found {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show(arguments: &Redact, plan: &RedactionPlan) -> Result<()> {
    let values = plan
        .values
        .iter()
        .map(|(column, n)| [json!(column), json!(n.to_string())]);
    print(arguments.output.format, ["column", "values"], values)?;
    let RedactionPlan { rows, changes, .. } = *plan;
    note!("{} rows and {} changes would be redacted", rows, changes);
    tell_moved(&plan.moved_keys);
    note!("Nothing was changed. To redact: --actor ACTOR --reason TEXT --apply");
    Ok(())
}

fn apply(conn: &mut Database, arguments: &Redact, redaction: Redaction<'_>) -> Result<()> {
    let (Some(actor), Some(reason)) = (&arguments.actor, &arguments.reason) else {
        return Err("--apply needs --actor and --reason".into());
    };
    let mut progress = Progress::new("changes", || Ok(0))?;
    let redaction = redaction
        .actor(actor.clone())
        .reason(reason)
        .progress(|done| progress.show(done));
    let redacted = wait(redaction.run(&mut **conn))?;
    progress.end();
    tell_moved(&redacted.moved_keys);
    if arguments.output.format == Format::Table {
        return say!(
            "{} values in {} changes of {} rows, action {}",
            redacted.values,
            redacted.changes,
            redacted.rows,
            redacted.action_id
        );
    }
    let done = [
        redacted.rows.to_string(),
        redacted.changes.to_string(),
        redacted.values.to_string(),
        redacted.action_id.to_string(),
    ];
    let header = ["rows", "changes", "values", "action"];
    print(
        arguments.output.format,
        header,
        std::iter::once(done.map(|value| json!(value))),
    )
}

fn tell_moved(keys: &[String]) {
    if !keys.is_empty() {
        note!(
            "These rows had other keys as well, name them too: {}",
            keys.join(" ")
        );
    }
}
