use std::fmt;

use crate::text_enum::text_enum;

/// How far a [baseline](crate::baseline()), a [purge](crate::purge()), a [redaction](crate::redact()), a
/// [refresh](crate::refresh()) or an [upgrade](crate::upgrade()) has come. Its text is such as `2000 of about 50000 rows`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many changes, rows or tables are done. A baseline and an upgrade count those of earlier runs, too.
    pub done: u64,
    /// What `done` and `total` count.
    pub unit: ProgressUnit,
    /// About how many there are in all, and never fewer than `done`. A purge and a redaction do not know it.
    pub total: Option<u64>,
}

text_enum! {
    /// What a [`Progress`] counts.
    pub enum ProgressUnit {
        /// Changes: those that a purge removed, or that had values for a redaction to replace.
        Changes = "changes",
        /// Rows of the table that a baseline read, or of the audit log that an upgrade went past.
        Rows = "rows",
        /// Tables that a refresh brought up to date, or could not.
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
