use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Export;
use super::digest::{Hashed, hex};
use super::format::ExportFormat;
use super::job::ExportJob;
use super::outcome::ExportReport;
use crate::error::Error;
use crate::query::TimelineCursor;

/// What a directory with an export has in it: its `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Version of the format: 1.
    pub format_version: u32,
    /// How the changes are written.
    pub format: ExportFormat,
    /// What was exported, in the words of `threadline.timeline`.
    pub filter: Value,
    /// The position that it began after; `None` when it began with the newest change.
    pub before: Option<TimelineCursor>,
    /// No more changes than this were wanted.
    pub max_rows: Option<u64>,
    /// When it began, by the clock of the database.
    pub generated_at: Option<DateTime<Utc>>,
    /// Up to this time it is all there is and will be; of later changes, some may have been in flight.
    pub settled_at: Option<DateTime<Utc>>,
    /// How many changes the files have together.
    pub changes: u64,
    /// Whether it came to its end. If not, the same export into the same directory goes on with it.
    pub complete: bool,
    /// Whether there are more changes, which [`limit`](super::Export::limit) left out.
    pub truncated: bool,
    /// The position of the first change, the newest.
    pub first: Option<TimelineCursor>,
    /// The position of the last change, the oldest. What comes then has not been exported.
    pub last: Option<TimelineCursor>,
    /// The files, in the order of the timeline.
    pub files: Vec<ExportFile>,
}

/// A file of an export, which can be read without the others.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct ExportFile {
    /// Its name.
    pub name: String,
    /// How many changes it has.
    pub changes: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// The position of its first change.
    pub first: Option<TimelineCursor>,
    /// The position of its last change.
    pub last: Option<TimelineCursor>,
}

const MANIFEST: &str = "manifest.json";

impl Manifest {
    /// Reads the manifest of a directory.
    ///
    /// # Errors
    ///
    /// [`Error::Output`] if there is none, or it is not one.
    pub fn read(directory: impl AsRef<Path>) -> Result<Self, Error> {
        let json = fs::read(directory.as_ref().join(MANIFEST)).map_err(Error::Output)?;
        serde_json::from_slice(&json).map_err(|error| Error::Output(error.into()))
    }

    /// Reads all files of a directory, and compares them to what its manifest says of them.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidExport`] names the first file that is not what it was. [`Error::Output`] if one cannot be read.
    pub fn verify(&self, directory: impl AsRef<Path>) -> Result<(), Error> {
        for file in &self.files {
            let path = directory.as_ref().join(&file.name);
            let mut hash = Hashed(Sha256::new());
            let bytes = File::open(&path).and_then(|mut content| io::copy(&mut content, &mut hash));
            if bytes.map_err(Error::Output)? != file.bytes || hex(hash.0) != file.sha256 {
                let path = path.display();
                return Err(Error::InvalidExport(format!(
                    "{path} is not what was exported"
                )));
            }
        }
        Ok(())
    }

    fn asks_for_the_same(&self, other: &Self) -> bool {
        let asked = |m: &Self| {
            (
                m.format_version,
                m.format,
                m.filter.clone(),
                m.before,
                m.max_rows,
            )
        };
        asked(self) == asked(other)
    }
}

impl Export<'_> {
    /// The manifest of one which has not begun, and how many changes a file is to have.
    pub(super) fn manifest(&self) -> (Manifest, u64) {
        let manifest = Manifest {
            format_version: 1,
            format: self.format,
            filter: self.page.filter_json(),
            before: self.page.position(),
            max_rows: self.limit,
            generated_at: None,
            settled_at: None,
            changes: 0,
            complete: false,
            truncated: false,
            first: None,
            last: None,
            files: Vec::new(),
        };
        (manifest, self.rows_per_file.max(1))
    }
}

/// The files of an export, one after the other. A file has its name when it is whole, and is in the manifest after that.
pub(super) struct ExportFiles {
    directory: PathBuf,
    /// Held until the end.
    _lock: Option<File>,
    manifest: Manifest,
    rows_per_file: u64,
}

impl ExportFiles {
    /// Makes the directory, or goes on with what is in it.
    pub(super) fn open(
        (mut manifest, rows_per_file): (Manifest, u64),
        directory: PathBuf,
    ) -> Result<Self, Error> {
        fs::create_dir_all(&directory).map_err(Error::Output)?;
        let lock = lock(&directory)?;
        if directory.join(MANIFEST).exists() {
            let found = Manifest::read(&directory)?;
            if found.complete || !found.asks_for_the_same(&manifest) {
                let which = if found.complete {
                    "a finished"
                } else {
                    "another"
                };
                let directory = directory.display();
                return Err(Error::InvalidExport(format!(
                    "{directory} has {which} export in it: choose an empty directory"
                )));
            }
            manifest = found;
        }
        Ok(Self {
            directory,
            _lock: lock,
            manifest,
            rows_per_file,
        })
    }

    /// Where to write the next file to, for which the job is made ready; nothing when it is the end.
    pub(super) fn next(&self, job: &mut ExportJob<'_>) -> Option<PathBuf> {
        let manifest = &self.manifest;
        if manifest.complete {
            return None;
        }
        let rows = manifest.max_rows.map_or(self.rows_per_file, |rows| {
            self.rows_per_file
                .min(rows.saturating_sub(manifest.changes))
        });
        let bytes = manifest.files.iter().map(|file| file.bytes).sum();
        job.go_on(manifest.last, (manifest.changes, bytes), rows);
        Some(self.directory.join(partial(&self.name())))
    }

    fn name(&self) -> String {
        format!(
            "changes-{:06}.{}",
            self.manifest.files.len() + 1,
            self.manifest.format
        )
    }

    /// What has been written and is on disk.
    pub(super) fn add(mut self, exported: ExportReport) -> Result<Self, Error> {
        let name = self.name();
        self.rename(&name).map_err(Error::Output)?;
        let manifest = &mut self.manifest;
        manifest.generated_at.get_or_insert(exported.generated_at);
        manifest.settled_at.get_or_insert(exported.settled_at);
        manifest.changes += exported.changes;
        manifest.truncated = exported.truncated && manifest.max_rows == Some(manifest.changes);
        manifest.complete = !exported.truncated || manifest.truncated;
        manifest.first = manifest.first.or(exported.first);
        manifest.last = exported.last.or(manifest.last);
        manifest.files.push(ExportFile {
            name,
            changes: exported.changes,
            bytes: exported.bytes,
            sha256: exported.sha256,
            first: exported.first,
            last: exported.last,
        });
        self.write_manifest().map_err(Error::Output)?;
        Ok(self)
    }

    fn write_manifest(&self) -> io::Result<()> {
        let mut file = File::create(self.directory.join(partial(MANIFEST)))?;
        serde_json::to_writer_pretty(&mut file, &self.manifest)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        self.rename(MANIFEST)
    }

    /// From its name while it was written to its own, for good.
    fn rename(&self, name: &str) -> io::Result<()> {
        fs::rename(
            self.directory.join(partial(name)),
            self.directory.join(name),
        )?;
        if cfg!(unix) {
            File::open(&self.directory)?.sync_all()
        } else {
            Ok(())
        }
    }

    pub(super) fn into_manifest(self) -> Manifest {
        self.manifest
    }
}

/// Two at once would write the same files.
fn lock(directory: &Path) -> Result<Option<File>, Error> {
    // Elsewhere, directories are not files.
    if !cfg!(unix) {
        return Ok(None);
    }
    let lock = File::open(directory).map_err(Error::Output)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::Error(error)) => Err(Error::Output(error)),
        Err(TryLockError::WouldBlock) => {
            let directory = directory.display();
            Err(Error::InvalidExport(format!(
                "another process is exporting into {directory}"
            )))
        }
    }
}

fn partial(name: &str) -> String {
    format!("{name}.partial")
}
