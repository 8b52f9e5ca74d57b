use std::io::{self, Write};

use diesel::PgConnection;

use crate::Result;
use crate::arguments::Baseline;
use crate::progress::Progress;

pub(crate) fn run(conn: &mut PgConnection, arguments: &Baseline) -> Result<()> {
    let mut progress = Progress::new("rows", || Ok(0))?;
    let mut baseline = threadline::baseline(&arguments.table)
        .actor(arguments.who.actor.clone())
        .reason(&arguments.who.reason)
        .batch_size(arguments.batch_size)
        .pause(arguments.pause)
        .progress(|done| progress.show(done));
    if let Some(batches) = arguments.max_batches {
        baseline = baseline.max_batches(batches);
    }
    let done = baseline.run(conn)?;
    progress.end();
    let mut out = io::stdout();
    writeln!(
        out,
        "Snapshots: {} of {} rows, as of {}",
        done.recorded,
        done.passed,
        done.as_of.to_rfc3339()
    )?;
    if !done.finished {
        writeln!(out, "There are more rows: run it again")?;
    }
    Ok(())
}
