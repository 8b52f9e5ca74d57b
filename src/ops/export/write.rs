use std::path::PathBuf;

use super::Export;
use super::job::ExportJob;

impl<'a> Export<'a> {
    /// Writes it. On a `PgConnection` it takes a [`Write`](std::io::Write) and returns a result, on an `AsyncPgConnection` an
    /// `AsyncWrite` of tokio and returns the future of one; a pooled connection is passed as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::Output`](crate::Error::Output) if writing to `out` fails. `out` may then hold a part of the export, which is whole up to the last
    /// position that [`progress`](Self::progress) reported. [`Error::Database`](crate::Error::Database) if a table is not audited, the caller may not read the audit log, or a transaction is
    /// open and is not of one snapshot (`REPEATABLE READ` or `SERIALIZABLE`).
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped leaves `out` as an error does, and the connection in a transaction, so a pool drops it.
    pub fn write_to<'c, C, W>(self, conn: &'c mut C, out: W) -> C::Outcome<'c>
    where
        C: Exports<W>,
        W: 'c,
        'a: 'c,
    {
        conn.export(ExportJob::new(self), out)
    }

    /// Writes files into a directory, `changes-000001.csv` and so on, and a [`Manifest`](crate::Manifest) of them. Each is on disk before it has its name, and
    /// an export that was killed goes on where it was when it is run once more. Returns as [`write_to`](Self::write_to).
    ///
    /// On Unix, only their owner can read the files (mode 0600). No symbolic link is followed, not even if the directory is one, and no file is replaced that
    /// is not of this export.
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
    /// manifest.verify(&directory)?;                    // each file has the SHA-256 that the manifest says
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`write_to`](Self::write_to); what has been written stays. [`Error::InvalidExport`](crate::Error::InvalidExport) if the directory has a finished export in it, or one of other
    /// changes, another process is writing there, it is a symbolic
    /// link, or something in it is in the way that is not of this export.
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

/// Connections that an [`Export`] reads from when it is written to files.
#[diagnostic::on_unimplemented(
    message = "an export cannot be written from `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait ExportsFiles {
    /// A result, or the future of one.
    type Outcome<'a>
    where
        Self: 'a;

    #[doc(hidden)]
    fn export_files<'a>(&'a mut self, export: Export<'a>, directory: PathBuf) -> Self::Outcome<'a>;
}

/// Connections that an [`Export`] reads from, and where it is written to.
#[diagnostic::on_unimplemented(
    message = "an export cannot be written from `{Self}` to `{W}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline and a `std::io::Write`, `AsyncPgConnection` the feature `async` and a `tokio::io::AsyncWrite + Unpin + Send`"
)]
pub trait Exports<W> {
    /// A result, or the future of one.
    type Outcome<'a>
    where
        Self: 'a,
        W: 'a;

    #[doc(hidden)]
    fn export<'a>(&'a mut self, job: ExportJob<'a>, out: W) -> Self::Outcome<'a>
    where
        W: 'a;
}
