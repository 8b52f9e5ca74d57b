use serde::Serialize;

/// How much data there is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Size {
    /// Rows of the audited tables.
    pub rows: u32,
    /// Changes in the audit log.
    pub changes: u32,
}
