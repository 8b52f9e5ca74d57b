use chrono::{DateTime, Utc};
use diesel::QueryableByName;
use diesel::query_builder::SqlQuery;
use diesel::result::Error::{AlreadyInTransaction, DeserializationError};
use diesel::sql_types::{Bool, Timestamptz};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Export;
use super::digest::hex;
use super::encoder::Encoder;
use super::format::ExportFormat;
use super::outcome::{ExportProgress, ExportReport};
use super::page::{ExportPage, ExportRow};
use crate::error::Error;
use crate::query::TimelineCursor;

/// The number of rows in a page. Planning the query of a page costs milliseconds, which is
/// negligible for this many rows. The client holds only a few rows at a time.
const PAGE: u64 = 5_000;

/// The size of the pieces in which bytes are written.
const PIECE: usize = 64 * 1024;

/// The part of an export that does no I/O: decides what to read next and what to write.
#[allow(missing_debug_implementations)]
pub struct ExportJob<'a> {
    page: ExportPage,
    filter: Value,
    format: ExportFormat,
    progress: Option<Box<dyn FnMut(ExportProgress) + Send + 'a>>,
    /// The maximum number of rows, and whether there are more.
    rows: u64,
    more: bool,
    /// The number of rows of the current page that were requested, and that were received.
    asked: u64,
    came: u64,
    encoder: Encoder,
    hash: Sha256,
    exported: ExportReport,
    /// The number of changes and bytes in the files before this one.
    before: (u64, u64),
}

/// The moment that an export describes.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub(super) struct Snapshot {
    #[diesel(sql_type = Timestamptz)]
    generated_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    settled_at: DateTime<Utc>,
    /// Whether all statements of the transaction see the same snapshot.
    #[diesel(sql_type = Bool)]
    is_one: bool,
}

impl Snapshot {
    /// Returns the first statement of the transaction, which takes the snapshot.
    pub(super) fn query() -> SqlQuery {
        diesel::sql_query(
            "SELECT pg_catalog.clock_timestamp() AS generated_at, threadline.settled_at() AS settled_at, \
             pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) ANY ('{repeatable read,serializable}') AS is_one",
        )
    }

    /// Refuses an open transaction in which later statements would see another snapshot.
    pub(super) fn checked(self) -> Result<Self, Error> {
        if !self.is_one {
            return Err(AlreadyInTransaction.into());
        }
        Ok(self)
    }
}

impl<'a> ExportJob<'a> {
    pub(super) fn new(export: Export<'a>) -> Self {
        Self {
            filter: export.page.filter_json(),
            page: export.page,
            format: export.format,
            progress: export.progress,
            rows: export.limit.unwrap_or(u64::MAX),
            more: false,
            asked: 0,
            came: 0,
            encoder: Encoder::new(export.format),
            hash: Sha256::new(),
            exported: ExportReport::default(),
            before: (0, 0),
        }
    }

    /// Starts another file of `rows` rows, after everything exported so far.
    pub(super) fn go_on(&mut self, after: Option<TimelineCursor>, before: (u64, u64), rows: u64) {
        self.page = self.page.part(after, 0);
        self.before = before;
        self.rows = rows;
        self.more = false;
        (self.asked, self.came) = (0, 0);
        self.encoder = Encoder::new(self.format);
        self.exported = ExportReport::default();
    }

    /// Begins the export and its output.
    pub(super) fn begin(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        self.exported.generated_at = snapshot.generated_at;
        self.exported.settled_at = snapshot.settled_at;
        let header = self.encoder.begin(snapshot.generated_at, &self.filter);
        header.map_err(Error::Output)
    }

    /// Returns the next page to read; `None` at the end.
    pub(super) fn next_page(&mut self) -> Option<ExportPage> {
        if self.came < self.asked || self.more {
            return None;
        }
        // One row more than needed shows whether there are more.
        let wanted = (self.rows - self.exported.changes).saturating_add(1);
        self.asked = wanted.min(PAGE);
        self.came = 0;
        let limit = i32::try_from(self.asked).unwrap_or(i32::MAX);
        Some(self.page.part(self.exported.last, limit))
    }

    /// Adds a received row. Returns a piece to write once it is large enough.
    pub(super) fn push(&mut self, row: &ExportRow) -> Result<Option<Vec<u8>>, Error> {
        self.came += 1;
        if self.exported.changes == self.rows {
            self.more = true;
            return Ok(None);
        }
        // Only the query plan guarantees this order. If it were wrong, changes would be left out.
        if self.exported.last.is_some_and(|last| last <= row.position) {
            let message = "the changes of an export are not in their order";
            return Err(DeserializationError(message.into()).into());
        }
        self.encoder.push(row).map_err(Error::Output)?;
        self.exported.changes += 1;
        self.exported.first.get_or_insert(row.position);
        self.exported.last = Some(row.position);
        if self.encoder.len() < PIECE {
            return Ok(None);
        }
        self.piece().map(Some)
    }

    /// Returns the rest to write, so that all rows of the page are written.
    pub(super) fn piece(&mut self) -> Result<Vec<u8>, Error> {
        let piece = self.encoder.take().map_err(Error::Output)?;
        self.hash.update(&piece);
        self.exported.bytes += piece.len() as u64;
        Ok(piece)
    }

    /// Reports what has been written.
    pub(super) fn report(&mut self) {
        if let (Some(progress), Some(position)) = (&mut self.progress, self.exported.last) {
            progress(ExportProgress {
                changes: self.before.0 + self.exported.changes,
                bytes: self.before.1 + self.exported.bytes,
                position,
            });
        }
    }

    /// Ends the output.
    pub(super) fn end(&mut self) -> Result<Vec<u8>, Error> {
        self.exported.truncated = self.more;
        let next = self.exported.last.filter(|_| self.more);
        let footer = self.encoder.end(self.exported.changes, next);
        footer.map_err(Error::Output)?;
        self.piece()
    }

    /// Returns the report, once everything has been written.
    pub(super) fn exported(&mut self) -> ExportReport {
        self.exported.sha256 = hex(std::mem::take(&mut self.hash));
        self.exported.clone()
    }
}
