//! Exports a timeline as CSV, JSON or NDJSON.

#[cfg(feature = "async")]
mod asynchronous;
mod change;
mod digest;
mod directory;
mod encoder;
mod files;
mod format;
mod job;
mod outcome;
mod page;
#[cfg(feature = "sync")]
mod sync;
mod text;
mod write;

use page::ExportPage;

use crate::query::{Recorded, Timeline};

pub use files::{ExportFile, Manifest};
pub use format::ExportFormat;
pub use outcome::{ExportProgress, ExportReport};
pub use write::{Exports, ExportsFiles};

impl<R: Recorded> Timeline<R> {
    /// Exports all pages of the timeline: the same changes in the same order, from one snapshot of
    /// the database, in constant memory.
    ///
    /// The export has the changes as they were recorded, under the present names of the columns and
    /// with today's redaction. Numbers are as exact as in the database. An export ignores
    /// [`limit`](Timeline::limit). It starts after the position given to
    /// [`before`](Timeline::before).
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
    /// let mut file = Vec::new();                                         // or a File: the export writes large pieces
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
            limit: None,
            rows_per_file: 100_000,
            progress: None,
        }
    }
}

/// An export to write. Created by [`Timeline::export`].
#[must_use = "nothing is exported until it is written"]
pub struct Export<'a> {
    pub(super) page: ExportPage,
    pub(super) format: ExportFormat,
    pub(super) limit: Option<u64>,
    pub(super) rows_per_file: u64,
    pub(super) progress: Option<Box<dyn FnMut(ExportProgress) + Send + 'a>>,
}

impl<'a> Export<'a> {
    /// Limits the export to this number of changes; no limit by default.
    pub fn limit(self, changes: u64) -> Self {
        Self {
            limit: Some(changes),
            ..self
        }
    }

    /// Calls a function each time that several thousand changes have been written.
    pub fn progress<'b>(self, report: impl FnMut(ExportProgress) + Send + 'b) -> Export<'b>
    where
        'a: 'b,
    {
        Export {
            progress: Some(Box::new(report)),
            ..self
        }
    }

    /// Sets how many changes each file of [`write_files`](Self::write_files) holds; 100,000 by
    /// default.
    pub fn rows_per_file(self, changes: u64) -> Self {
        Self {
            rows_per_file: changes,
            ..self
        }
    }
}
