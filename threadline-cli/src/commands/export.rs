use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use diesel::RunQueryDsl;
use threadline::TimelineCursor;

use crate::Result;
use crate::arguments::Export;
use crate::connection::{Database, wait};
use crate::output::{AtOnce, exact, is_terminal, note};
use crate::progress::Progress;

pub(crate) fn run(conn: &mut Database, arguments: &Export) -> Result<()> {
    let timeline = arguments.filters.timeline(arguments.before.as_ref())?;
    let to_stdout = arguments.output.is_none() && arguments.directory.is_none();
    let mut progress = if to_stdout && is_terminal() {
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
        let export = export.rows_per_file(arguments.rows_per_file);
        let manifest = wait(export.write_files(&mut **conn, directory))?;
        progress.end();
        note!(
            "{} in {}",
            counted(manifest.changes, "change"),
            counted(manifest.files.len() as u64, "file")
        );
        tell_rest(manifest.truncated, manifest.last);
        return Ok(());
    }
    let exported = match &arguments.output {
        Some(path) => {
            let output = Output::create(path)?;
            let exported = wait(export.write_to(&mut **conn, AtOnce(&output.file)))?;
            output.finish(path)?;
            exported
        }
        None => wait(export.write_to(&mut **conn, AtOnce(exact())))?,
    };
    progress.end();
    note!(
        "{}, SHA-256 {}",
        counted(exported.changes, "change"),
        exported.sha256
    );
    tell_rest(exported.truncated, exported.last);
    Ok(())
}

fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

fn tell_rest(truncated: bool, last: Option<TimelineCursor>) {
    if let Some(last) = last.filter(|_| truncated) {
        note!("There are more: --before {}", last);
    }
}

/// A file that takes its name when it is whole, so that it replaces what had the name, and writes to nothing that a link leads to.
struct Output {
    file: File,
    /// What it is called until then; pipes and devices are written to as they are.
    unfinished: Option<PathBuf>,
}

impl Output {
    fn create(path: &Path) -> Result<Self> {
        let cannot = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        let found = fs::symlink_metadata(path);
        if found.as_ref().is_ok_and(fs::Metadata::is_symlink) {
            let path = path.display();
            return Err(format!("{path} is a symbolic link: name the file itself").into());
        }
        if found.is_ok_and(|found| !found.is_file()) {
            let file = OpenOptions::new().write(true).open(path);
            return Ok(Self {
                file: file.map_err(|error| cannot(path, error))?,
                unfinished: None,
            });
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".{}.partial", std::process::id()));
        let unfinished = PathBuf::from(unfinished);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&unfinished);
        Ok(Self {
            file: file.map_err(|error| cannot(&unfinished, error))?,
            unfinished: Some(unfinished),
        })
    }

    fn finish(mut self, path: &Path) -> io::Result<()> {
        if let Some(unfinished) = &self.unfinished {
            self.file.sync_all()?;
            fs::rename(unfinished, path)?;
        }
        self.unfinished = None;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            // What it says is less than why it was not finished.
            let _ = fs::remove_file(unfinished);
        }
    }
}
