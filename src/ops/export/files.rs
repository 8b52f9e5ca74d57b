use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Export;
use super::digest::{Hashed, hex};
use super::directory::{Directory, Found};
use super::format::ExportFormat;
use super::job::ExportJob;
use super::outcome::ExportReport;
use crate::error::Error;
use crate::query::TimelineCursor;

/// The contents of an export directory: its `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of the format: 1.
    pub format_version: u32,
    /// The format of the changes.
    pub format: ExportFormat,
    /// The exported filter, as JSON for `threadline.timeline`.
    pub filter: Value,
    /// The position that the export starts after; `None` if it starts with the newest change.
    pub before: Option<TimelineCursor>,
    /// The maximum number of changes that was requested.
    pub max_rows: Option<u64>,
    /// When the export began, by the clock of the database.
    pub generated_at: Option<DateTime<Utc>>,
    /// Up to this time, the export is complete and final. Later changes may have been in flight,
    /// and may be missing.
    pub settled_at: Option<DateTime<Utc>>,
    /// The total number of changes in the files.
    pub changes: u64,
    /// Whether the export is finished. If not, run the same export into the same directory to
    /// resume it.
    pub complete: bool,
    /// Whether there are more changes, which [`limit`](super::Export::limit) left out.
    pub truncated: bool,
    /// The position of the first change, the newest.
    pub first: Option<TimelineCursor>,
    /// The position of the last change, the oldest. Changes after it have not been exported.
    pub last: Option<TimelineCursor>,
    /// The files, in the order of the timeline.
    pub files: Vec<ExportFile>,
}

/// A file of an export, readable without the other files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct ExportFile {
    /// The name of the file.
    pub name: String,
    /// The number of changes in the file.
    pub changes: u64,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// The SHA-256 digest of the file, as hexadecimal digits.
    pub sha256: String,
    /// The position of the first change in the file.
    pub first: Option<TimelineCursor>,
    /// The position of the last change in the file.
    pub last: Option<TimelineCursor>,
}

const MANIFEST: &str = "manifest.json";

impl Manifest {
    /// Reads the manifest of an export directory.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidExport`] if the manifest is a link, which is not followed. [`Error::Output`]
    /// if there is no manifest, or it cannot be parsed.
    pub fn read(directory: impl AsRef<Path>) -> Result<Self, Error> {
        Self::of(&Directory::open(directory.as_ref())?)
    }

    fn of(directory: &Directory) -> Result<Self, Error> {
        let mut json = Vec::new();
        let mut file = directory.read(MANIFEST)?;
        file.read_to_end(&mut json).map_err(Error::Output)?;
        serde_json::from_slice(&json).map_err(|error| Error::Output(error.into()))
    }

    /// Reads all files of a directory, and compares them with the manifest. Even if the manifest
    /// comes from someone else, nothing outside the directory is read, because links are not
    /// followed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidExport`] with the first file that differs from the manifest, or that is not
    /// a file of the directory. [`Error::Output`] if a file cannot be read.
    pub fn verify(&self, directory: impl AsRef<Path>) -> Result<(), Error> {
        let path = directory.as_ref();
        for file in &self.files {
            file.refuse_path()?;
        }
        let directory = Directory::open(path)?;
        for file in &self.files {
            let mut hash = Hashed(Sha256::new());
            let mut content = directory.read(&file.name)?;
            let bytes = io::copy(&mut content, &mut hash).map_err(Error::Output)?;
            if bytes != file.bytes || hex(hash.0) != file.sha256 {
                let path = path.join(&file.name);
                let path = path.display();
                return Err(Error::InvalidExport(format!(
                    "{path} is not what was exported"
                )));
            }
        }
        Ok(())
    }

    /// Whether an export can resume from this manifest: its files have the expected names, and its
    /// totals are correct.
    fn is_sound(&self) -> bool {
        let total = |of: fn(&ExportFile) -> u64| {
            let mut sizes = self.files.iter().map(of);
            let total = sizes.try_fold(0, u64::checked_add)?;
            i64::try_from(total).ok()?;
            Some(total)
        };
        let mut named = (1..).zip(&self.files);
        named.all(|(n, file)| file.name == name(n, self.format))
            && total(|file| file.changes) == Some(self.changes)
            && total(|file| file.bytes).is_some()
    }

    /// Returns an error that says why an export cannot resume from this manifest, if it cannot.
    fn refuse(&self, wanted: &Self, directory: &Path) -> Result<(), Error> {
        let directory = directory.display();
        let which = if self.complete {
            "a finished"
        } else if !self.asks_for_the_same(wanted) {
            "another"
        } else if !self.is_sound() {
            return Err(Error::InvalidExport(format!(
                "the manifest in {directory} contradicts itself: choose an empty directory"
            )));
        } else {
            return Ok(());
        };
        Err(Error::InvalidExport(format!(
            "{directory} has {which} export in it: choose an empty directory"
        )))
    }

    fn write(&self, mut file: File) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()
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
    /// Returns the manifest of an export that has not begun, and the number of changes per file.
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

impl ExportFile {
    /// Refuses a name that is not the name of a file in the directory on every system.
    fn refuse_path(&self) -> Result<(), Error> {
        let name = &self.name;
        if matches!(&**name, "" | "." | "..") || name.contains(['/', '\\', ':', '\0']) {
            return Err(Error::InvalidExport(format!(
                "{name:?} in the manifest is not the name of a file in the directory"
            )));
        }
        Ok(())
    }
}

/// Writes the files of an export one after the other. A file gets its name when it is complete, and
/// is added to the manifest after that.
pub(super) struct ExportFiles {
    /// Locked until the end of the export.
    directory: Directory,
    manifest: Manifest,
    rows_per_file: u64,
    /// Whether the manifest is on disk. Until then, the directory has no files of this export.
    is_begun: bool,
    /// Whether the next file may already exist, left by an export that was killed.
    may_be_there: bool,
}

impl ExportFiles {
    /// Creates the directory, or resumes the export in it.
    pub(super) fn open(
        (mut manifest, rows_per_file): (Manifest, u64),
        path: &Path,
    ) -> Result<Self, Error> {
        let directory = Directory::lock(path)?;
        let is_there = directory.found(MANIFEST)? != Found::Nothing;
        let mut is_begun = false;
        if is_there {
            let found = Manifest::of(&directory)?;
            is_begun = found.complete || !found.files.is_empty();
            if is_begun {
                found.refuse(&manifest, path)?;
                manifest = found;
            }
        }
        Ok(Self {
            directory,
            manifest,
            rows_per_file,
            is_begun,
            may_be_there: is_there,
        })
    }

    /// Prepares the job for the next file; false if the export is finished.
    pub(super) fn next(&self, job: &mut ExportJob<'_>) -> bool {
        let manifest = &self.manifest;
        if manifest.complete {
            return false;
        }
        let rows = manifest.max_rows.map_or(self.rows_per_file, |rows| {
            self.rows_per_file
                .min(rows.saturating_sub(manifest.changes))
        });
        let bytes = manifest.files.iter().map(|file| file.bytes).sum();
        job.go_on(manifest.last, (manifest.changes, bytes), rows);
        true
    }

    /// Creates the next file.
    pub(super) fn create(&mut self) -> Result<File, Error> {
        let name = self.name();
        let unfinished = partial(&name);
        for name in [&name, &unfinished] {
            self.directory.refuse(name, self.may_be_there)?;
        }
        if !self.is_begun {
            self.write_manifest()?;
            self.is_begun = true;
        }
        self.directory.create(&unfinished, self.may_be_there)
    }

    fn name(&self) -> String {
        name(self.manifest.files.len() + 1, self.manifest.format)
    }

    /// Adds a file that has been written and is on disk.
    pub(super) fn add(mut self, exported: ExportReport) -> Result<Self, Error> {
        let name = self.name();
        let (from, may_be_there) = (partial(&name), self.may_be_there);
        self.directory.rename(&from, &name, may_be_there)?;
        self.may_be_there = false;
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
        self.write_manifest()?;
        Ok(self)
    }

    fn write_manifest(&self) -> Result<(), Error> {
        let unfinished = partial(MANIFEST);
        let file = self.directory.create(&unfinished, true)?;
        self.manifest.write(file).map_err(Error::Output)?;
        self.directory.rename(&unfinished, MANIFEST, true)
    }

    pub(super) fn into_manifest(self) -> Manifest {
        self.manifest
    }
}

fn name(n: usize, format: ExportFormat) -> String {
    format!("changes-{n:06}.{format}")
}

fn partial(name: &str) -> String {
    format!("{name}.partial")
}
