use std::fs::File;
use std::io::{self, IsTerminal};

use diesel::{PgConnection, RunQueryDsl};
use threadline::TimelineCursor;

use crate::Result;
use crate::arguments::Export;
use crate::progress::Progress;

pub(crate) fn run(conn: &mut PgConnection, arguments: &Export) -> Result<()> {
    let timeline = arguments.filters.timeline(arguments.before.as_ref())?;
    let to_stdout = arguments.output.is_none() && arguments.directory.is_none();
    let mut progress = if to_stdout && io::stdout().is_terminal() {
        Progress::none()
    } else {
        Progress::new("changes", || {
            let count: i64 = timeline.clone().count().get_result(conn)?;
            Ok(u64::try_from(count)?.min(arguments.limit.unwrap_or(u64::MAX)))
        })?
    };
    let mut export = timeline
        .export(arguments.format)
        .progress(|done| progress.tell(done.changes));
    if let Some(rows) = arguments.limit {
        export = export.limit(rows);
    }
    if let Some(directory) = &arguments.directory {
        let manifest = export
            .rows_per_file(arguments.rows_per_file)
            .write_files(conn, directory)?;
        progress.end();
        eprintln!(
            "{} changes in {} files",
            manifest.changes,
            manifest.files.len()
        );
        tell_rest(manifest.truncated, manifest.last);
        return Ok(());
    }
    let exported = match &arguments.output {
        Some(path) => {
            let file =
                File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let exported = export.write_to(conn, &file)?;
            file.sync_all()?;
            exported
        }
        None => export.write_to(conn, io::stdout().lock())?,
    };
    progress.end();
    eprintln!("{} changes, SHA-256 {}", exported.changes, exported.sha256);
    tell_rest(exported.truncated, exported.last);
    Ok(())
}

fn tell_rest(truncated: bool, last: Option<TimelineCursor>) {
    if let Some(last) = last.filter(|_| truncated) {
        eprintln!("There are more: --before {last}");
    }
}
