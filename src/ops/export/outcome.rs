use chrono::{DateTime, Utc};

use crate::query::TimelineCursor;

/// How far an export has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportProgress {
    /// Changes that have been written.
    pub changes: u64,
    /// Bytes that have been written.
    pub bytes: u64,
    /// The position of the last of them: a new export goes on [before](crate::Timeline::before) it.
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
    /// Whether there are more changes, which [`limit`](super::Export::limit) left out.
    pub truncated: bool,
    /// The position of the first change, the newest.
    pub first: Option<TimelineCursor>,
    /// The position of the last change, the oldest. If it is truncated, a new export goes on [before](crate::Timeline::before) it.
    pub last: Option<TimelineCursor>,
}
