use crate::Result;
use crate::arguments::Baseline;
use crate::connection::{Database, wait};
use crate::output::say;
use crate::progress::Progress;

pub(crate) fn run(conn: &mut Database, arguments: &Baseline) -> Result<()> {
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
    let done = wait(baseline.run(&mut **conn))?;
    progress.end();
    say!(
        "Snapshots: {} of {} rows, as of {}",
        done.recorded,
        done.passed,
        done.as_of.to_rfc3339()
    )?;
    if !done.finished {
        say!("There are more rows: run it again")?;
    }
    Ok(())
}
