use std::fmt;

use crate::text_enum::text_enum;

/// The progress of a [baseline](crate::baseline()), a [purge](crate::purge()), a
/// [redaction](crate::redact()), a [refresh](crate::refresh()) or an [upgrade](crate::upgrade()).
/// Its `Display` writes text such as `2000 of about 50000 rows`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The number of changes, rows or tables done. For a baseline and an upgrade, this includes
    /// earlier runs.
    pub done: u64,
    /// The unit of `done` and `total`.
    pub unit: ProgressUnit,
    /// The approximate total, never less than `done`; `None` for a purge and a redaction, which do
    /// not know it.
    pub total: Option<u64>,
}

text_enum! {
    /// The unit of a [`Progress`].
    pub enum ProgressUnit {
        /// Changes that a purge removed, or in which a redaction had values to replace.
        Changes = "changes",
        /// Rows of the table that a baseline read, or rows of the audit log that an upgrade
        /// processed.
        Rows = "rows",
        /// Tables that a refresh brought up to date, or failed to.
        Tables = "tables",
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, unit, total } = self;
        match total {
            Some(total) => write!(f, "{done} of about {total} {unit}"),
            None => write!(f, "{done} {unit}"),
        }
    }
}
