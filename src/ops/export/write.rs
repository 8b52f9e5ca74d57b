use std::path::PathBuf;

use super::Export;
use super::job::ExportJob;

impl<'a> Export<'a> {
    /// Writes the export to `out`. On a `PgConnection` this takes a [`Write`](std::io::Write) and
    /// returns a result. On an `AsyncPgConnection` it takes a tokio `AsyncWrite` and returns a
    /// future of a result. Pass a pooled connection as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::Output`](crate::Error::Output) if writing to `out` fails. `out` may then hold a
    /// part of the export, which is complete up to the last position that
    /// [`progress`](Self::progress) reported.
    ///
    /// [`Error::Database`](crate::Error::Database) if a table is not audited, the caller may not
    /// read the audit log, or an open transaction does not use a single snapshot (`REPEATABLE READ`
    /// or `SERIALIZABLE`).
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves `out` as an error would. It leaves the connection in a transaction,
    /// so that a pool discards it.
    pub fn write_to<'c, C, W>(self, conn: &'c mut C, out: W) -> C::Outcome<'c>
    where
        C: Exports<W>,
        W: 'c,
        'a: 'c,
    {
        conn.export(ExportJob::new(self), out)
    }

    /// Writes the export to files in a directory, named `changes-000001.csv` and so on, with a
    /// [`Manifest`](crate::Manifest). A file is on disk before it gets its name. If an export was
    /// killed, run it again to resume it. Returns a result or a future, as
    /// [`write_to`](Self::write_to) does.
    ///
    /// On Unix, only their owner can read the files (mode 0600). Symbolic links are not followed,
    /// not even if the directory is one. Files of other exports are not replaced.
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use threadline_test_support::Database;
    /// use threadline::{ExportFormat, Manifest};
    ///
    /// # let database = Database::new();
    /// # let mut conn = database.connect();
    /// # let directory = std::env::temp_dir().join(database.name());
    /// let manifest = threadline::timeline().export(ExportFormat::Ndjson).write_files(&mut conn, &directory)?;
    /// assert!(manifest.complete && manifest == Manifest::read(&directory)?);
    /// manifest.verify(&directory)?;                    // checks the SHA-256 digest of every file
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`write_to`](Self::write_to); the files written so far are kept.
    /// [`Error::InvalidExport`](crate::Error::InvalidExport) if the directory holds a finished
    /// export or an export of other changes, another process is writing there, the directory is a
    /// symbolic link, or something that does not belong to this export is in the way.
    pub fn write_files<'c, C: ExportsFiles>(
        self,
        conn: &'c mut C,
        directory: impl Into<PathBuf>,
    ) -> C::Outcome<'c>
    where
        'a: 'c,
    {
        conn.export_files(self, directory.into())
    }
}

/// A connection from which an [`Export`] can be written to files.
#[diagnostic::on_unimplemented(
    message = "an export cannot be written from `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait ExportsFiles {
    /// A result, or a future of one.
    type Outcome<'a>
    where
        Self: 'a;

    #[doc(hidden)]
    fn export_files<'a>(&'a mut self, export: Export<'a>, directory: PathBuf) -> Self::Outcome<'a>;
}

/// A connection from which an [`Export`] can be written to a `W`.
#[diagnostic::on_unimplemented(
    message = "an export cannot be written from `{Self}` to `{W}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline and a `std::io::Write`, `AsyncPgConnection` the feature `async` and a `tokio::io::AsyncWrite + Unpin + Send`"
)]
pub trait Exports<W> {
    /// A result, or a future of one.
    type Outcome<'a>
    where
        Self: 'a,
        W: 'a;

    #[doc(hidden)]
    fn export<'a>(&'a mut self, job: ExportJob<'a>, out: W) -> Self::Outcome<'a>
    where
        W: 'a;
}
