use std::fs::File;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use diesel::{PgConnection, RunQueryDsl};
use indicatif::{ProgressBar, ProgressStyle};
use threadline::{Cursor, ExportProgress};

use crate::Result;
use crate::arguments::Export;

pub(crate) fn run(conn: &mut PgConnection, arguments: &Export) -> Result<()> {
    let timeline = arguments.filters.timeline(arguments.before.as_ref())?;
    let progress = Progress::of(arguments, || timeline.clone().count().get_result(conn))?;
    let mut export = timeline
        .export(arguments.format)
        .progress(|done| progress.tell(done));
    if let Some(rows) = arguments.max_rows {
        export = export.max_rows(rows);
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

fn tell_rest(truncated: bool, last: Option<Cursor>) {
    if let Some(last) = last.filter(|_| truncated) {
        eprintln!("There are more: --before {last}");
    }
}

/// A bar on a terminal, a line now and then elsewhere, and nothing in the way of what is written to the terminal itself.
enum Progress {
    Bar(ProgressBar),
    Lines { since: Instant },
    Nothing,
}

const STYLE: &str = "{bar:40} {human_pos} of {human_len} changes, {per_sec}, {eta} left";
/// What takes less is not worth a line.
const PATIENCE: Duration = Duration::from_secs(5);

impl Progress {
    fn of(arguments: &Export, count: impl FnOnce() -> diesel::QueryResult<i64>) -> Result<Self> {
        let to_stdout = arguments.output.is_none() && arguments.directory.is_none();
        if to_stdout && io::stdout().is_terminal() {
            return Ok(Self::Nothing);
        }
        if !io::stderr().is_terminal() {
            let since = Instant::now();
            return Ok(Self::Lines { since });
        }
        let count = u64::try_from(count()?)?.min(arguments.max_rows.unwrap_or(u64::MAX));
        let bar = ProgressBar::new(count);
        bar.set_style(ProgressStyle::with_template(STYLE)?);
        Ok(Self::Bar(bar))
    }

    fn tell(&self, done: ExportProgress) {
        match self {
            Self::Bar(bar) => bar.set_position(done.changes),
            // One in a hundred thousand changes or so.
            Self::Lines { since }
                if since.elapsed() > PATIENCE && done.changes.is_multiple_of(100_000) =>
            {
                eprintln!("{} changes", done.changes);
            }
            Self::Lines { .. } | Self::Nothing => {}
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
