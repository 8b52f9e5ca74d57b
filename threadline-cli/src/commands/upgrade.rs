use super::install;
use crate::Result;
use crate::arguments::{Refresh, Upgrade};
use crate::connection::{Database, wait};
use crate::output::{complain, say};
use crate::progress::Progress;

/// All that is to be done after a new version was deployed. A table that could not be refreshed does not keep it from the
/// rest.
pub(crate) fn upgrade(conn: &mut Database, arguments: &Upgrade) -> Result<()> {
    // Where Diesel runs the migrations of Threadline, it may have been left to this.
    let pending = wait(threadline::check_health(&mut **conn))?.pending_migrations;
    if pending.is_some_and(|pending| !pending.is_empty()) {
        install::apply(conn)?;
    }
    let refreshed = refresh(conn, &Refresh { table: None });
    let mut progress = Progress::new("rows", || Ok(0))?;
    let mut work = threadline::upgrade()
        .batch_size(arguments.batch_size)
        .pause(arguments.pause)
        .progress(|done| progress.show(done));
    if let Some(batches) = arguments.max_batches {
        work = work.max_batches(batches);
    }
    let done = wait(work.run(&mut **conn))?;
    progress.end();
    for step in &done.steps {
        say!("Worked on {}", step)?;
    }
    if done.finished {
        say!("Nothing is left of the work on the audit log")?;
    } else {
        say!("There is more work on the audit log: run it again")?;
    }
    refreshed
}

pub(crate) fn refresh(conn: &mut Database, arguments: &Refresh) -> Result<()> {
    let mut progress = Progress::new("tables", || Ok(0))?;
    let mut refresh = threadline::refresh().progress(|done| progress.show(done));
    if let Some(table) = &arguments.table {
        refresh = refresh.table(table);
    }
    let report = wait(refresh.run(&mut **conn))?;
    progress.end();
    for table in &report.refreshed {
        say!("Up to date: {}", table)?;
    }
    for finding in &report.failed {
        complain("not refreshed", &finding.to_string());
    }
    match report.failed.len() {
        0 => Ok(()),
        failed => Err(format!(
            "tables that could not be refreshed: {failed}; their capture goes on as it was, so run it again"
        )
        .into()),
    }
}
