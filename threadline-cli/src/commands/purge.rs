use diesel::RunQueryDsl;
use serde_json::json;
use threadline::{RetentionPlan, purge, retention_plan};

use crate::Result;
use crate::arguments::{Format, Purge};
use crate::connection::{Database, wait};
use crate::output::{note, print, say};
use crate::progress::Progress;

pub(crate) fn run(conn: &mut Database, arguments: Purge) -> Result<()> {
    if !arguments.mode.apply {
        return tell(&retention_plan().load(conn)?, arguments.output.format);
    }
    let mut progress = Progress::new("changes", || {
        let plan: Vec<RetentionPlan> = retention_plan().load(conn)?;
        let changes: i64 = plan.iter().map(|part| part.changes).sum();
        Ok(changes.unsigned_abs())
    })?;
    let mut purge = purge()
        .reason(arguments.reason)
        .batch_size(arguments.batch_size)
        .pause(arguments.pause)
        .max_batches(arguments.max_batches.unwrap_or(u64::MAX));
    if let Some(actor) = arguments.actor {
        purge = purge.actor(actor);
    }
    let purge = purge.progress(|done| progress.show(done));
    let purged = wait(purge.run(&mut **conn))?;
    progress.end();
    let row = [
        json!(purged.changes),
        json!(purged.transactions),
        json!(purged.dropped.join(" ")),
        json!(purged.action_id),
    ];
    let header = ["changes", "transactions", "partitions_dropped", "action"];
    print(arguments.output.format, header, [row].into_iter())?;
    if !purged.postponed.is_empty() {
        let partitions = purged.postponed.join(", ");
        return Err(format!("in use for too long, try again later: {partitions}").into());
    }
    if !purged.finished {
        note!("There is more: run it again");
    }
    Ok(())
}

fn tell(plan: &[RetentionPlan], format: Format) -> Result<()> {
    if plan.is_empty() && format == Format::Table {
        return say!("Nothing to purge: `threadline retention list` shows the policies");
    }
    let row = |part: &RetentionPlan| {
        [
            json!(part.partition),
            json!(part.table_schema),
            json!(part.table_name),
            json!(
                part.retention_cutoff
                    .map(|retention_cutoff| retention_cutoff.to_rfc3339())
            ),
            json!(if part.is_dropped { "drop" } else { "delete" }),
            json!(part.changes),
            json!(part.kept),
        ]
    };
    let header = [
        "partition",
        "schema",
        "table",
        "before",
        "how",
        "changes",
        "kept",
    ];
    print(format, header, plan.iter().map(row))?;
    if format == Format::Table {
        say!("Nothing was changed: --apply removes them")?;
    }
    Ok(())
}
