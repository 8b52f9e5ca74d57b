use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::export_job::ExportJob;
use crate::base::text_enum;
use crate::query::{ExportPage, Recorded, Timeline, TimelineCursor};

impl<R: Recorded> Timeline<R> {
    /// Writes all of its pages out: the same changes in the same order, of one snapshot of the database, in constant memory.
    ///
    /// What is exported is what was recorded, under the names that columns have now and redacted as it is now. Numbers are as exact as
    /// in the database. [`limit`](Timeline::limit) does not matter, but [`before`](Timeline::before) does: an export goes on from there.
    ///
    /// ```sql
    /// BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    /// SELECT … FROM threadline.timeline_export($1, $2, $3, $4, $5);      -- again for every 5,000 changes
    /// COMMIT
    /// ```
    ///
    /// # Example
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use threadline_test_support::Database;
    /// use threadline::prelude::*;
    /// use threadline::ExportFormat;
    ///
    /// # diesel::table! { users { id -> Integer, name -> Text } }
    /// # #[derive(Queryable, Selectable, Audited)]
    /// # struct User { id: i32, name: String }
    /// # let database = Database::new();
    /// # let mut conn = database.connect();
    /// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
    /// # threadline::capture::install(&mut conn, &[User::audit_spec()])?;
    /// # diesel::insert_into(users::table).values((users::id.eq(7), users::name.eq("Ada"))).execute(&mut conn)?;
    /// let mut file = Vec::new();                                         // or a File: what is written comes in large pieces
    /// let exported = threadline::timeline().table(users::table).export(ExportFormat::Csv).write_to(&mut conn, &mut file)?;
    /// assert_eq!((exported.changes, exported.truncated), (1, false));
    ///
    /// let csv = String::from_utf8(file)?;
    /// assert!(csv.starts_with("id,transaction_id,table_schema,table_name,op,captured_at,table_pk,data_after,"));
    /// assert!(csv.contains(r#""{""id"": 7, ""name"": ""Ada""}""#));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn export(self, format: ExportFormat) -> Export<'static> {
        Export {
            page: self.export_page(),
            format,
            max_rows: None,
            rows_per_file: 100_000,
            progress: None,
        }
    }
}

text_enum! {
    /// How changes are written.
    ///
    /// A change has the same members in all of them: `id` (as a string), `transaction_id`, `table_schema`, `table_name`, `op`, `captured_at`,
    /// `table_pk` (an object), `data_after`, `changed_fields`, `changed_from`, `transaction` (who acted and whatever else its context
    /// said when the change was made), `row_key` and `moved_key` (see [`Change`](crate::Change)), `actions`. Times are RFC 3339 in UTC.
    pub enum ExportFormat {
        /// RFC 4180, with a header: `id, transaction_id, table_schema, table_name, op, captured_at, table_pk, data_after, changed_fields,
        /// changed_from, transaction_json, row_key, moved_key, actions_json`. All but the first six are JSON.
        ///
        /// Spreadsheets run what looks like a formula, so names that begin as one (`=`, `+`, `-`, `@`, tab, return, or a quote `'`) are written
        /// with a `'` before them, and a `;` in JSON, which some of them split at, as `\u003b`, which is the same to readers of JSON.
        Csv = "csv",
        /// One object: `format_version` (1), `generated_at`, `filter`, `changes`, and after these `returned_count`, `truncated` and `next`.
        Json = "json",
        /// A JSON object a line, and nothing else.
        Ndjson = "ndjson",
    }
}

/// An export that is to be: made by [`Timeline::export`].
#[must_use = "nothing is exported until it is written"]
pub struct Export<'a> {
    pub(super) page: ExportPage,
    pub(super) format: ExportFormat,
    pub(super) max_rows: Option<u64>,
    pub(super) rows_per_file: u64,
    pub(super) progress: Option<Box<dyn FnMut(ExportProgress) + Send + 'a>>,
}

/// How far an export has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportProgress {
    /// Changes that have been written.
    pub changes: u64,
    /// Bytes that have been written.
    pub bytes: u64,
    /// The position of the last of them: a new export goes on [before](Timeline::before) it.
    pub position: TimelineCursor,
}

/// What was exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportReport {
    /// The snapshot's time, by the clock of the database.
    pub generated_at: DateTime<Utc>,
    /// Up to this time it is all there is and will be; of later changes, some may have been in flight.
    pub settled_at: DateTime<Utc>,
    /// How many changes.
    pub changes: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The SHA-256 of those bytes, in hexadecimal digits.
    pub sha256: String,
    /// Whether there are more changes, which [`max_rows`](Export::max_rows) left out.
    pub truncated: bool,
    /// The position of the first change, the newest.
    pub first: Option<TimelineCursor>,
    /// The position of the last change, the oldest. If it is truncated, a new export goes on [before](Timeline::before) it.
    pub last: Option<TimelineCursor>,
}

impl<'a> Export<'a> {
    /// No more changes than this; all of them unless told otherwise.
    pub fn limit(self, changes: u64) -> Self {
        Self {
            max_rows: Some(changes),
            ..self
        }
    }

    /// Calls a function each time that some thousand changes have been written.
    pub fn progress<'b>(self, report: impl FnMut(ExportProgress) + Send + 'b) -> Export<'b>
    where
        'a: 'b,
    {
        Export {
            progress: Some(Box::new(report)),
            ..self
        }
    }

    /// Writes it. On a `PgConnection` it takes a [`Write`](std::io::Write) and returns a result, on an `AsyncPgConnection` an
    /// `AsyncWrite` of tokio and returns the future of one; a pooled connection is passed as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::Output`] if it cannot be written to `out`, which then may have a part of it: up to the last position that
    /// [`progress`](Self::progress) told, it is whole. [`Error::Database`] if a table is not audited, the caller may not read the record, or a transaction is
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
    /// As [`write_to`](Self::write_to); what has been written stays. [`Error::InvalidExport`] if the directory has a finished export in it, or one of other
    /// changes, or another process is writing there.
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

    /// How many changes a file of [`write_files`](Self::write_files) has; 100,000 unless told otherwise.
    pub fn rows_per_file(self, changes: u64) -> Self {
        Self {
            rows_per_file: changes,
            ..self
        }
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
