use chrono::{DateTime, Utc};

use crate::query::TimelineCursor;

/// The progress of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportProgress {
    /// The number of changes written so far.
    pub changes: u64,
    /// The number of bytes written so far.
    pub bytes: u64,
    /// The position of the last change written. To continue from it in a new export, pass it to
    /// [`before`](crate::Timeline::before).
    pub position: TimelineCursor,
}

/// The outcome of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportReport {
    /// The time of the snapshot, by the clock of the database.
    pub generated_at: DateTime<Utc>,
    /// Up to this time, the export is complete and final. Later changes may have been in flight,
    /// and may be missing.
    pub settled_at: DateTime<Utc>,
    /// The number of changes.
    pub changes: u64,
    /// The number of bytes.
    pub bytes: u64,
    /// The SHA-256 digest of those bytes, as hexadecimal digits.
    pub sha256: String,
    /// Whether there are more changes, which [`limit`](super::Export::limit) left out.
    pub truncated: bool,
    /// The position of the first change, the newest.
    pub first: Option<TimelineCursor>,
    /// The position of the last change, the oldest. If the export is truncated, pass it to
    /// [`before`](crate::Timeline::before) to continue in a new export.
    pub last: Option<TimelineCursor>,
}
