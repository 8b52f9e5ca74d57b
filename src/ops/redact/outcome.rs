/// What a redaction would do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedactionPlan {
    /// The number of named rows that have changes.
    pub rows: u64,
    /// The number of changes with values to replace.
    pub changes: u64,
    /// The number of values to replace in each column, in the rows before and after the changes.
    pub values: std::collections::BTreeMap<String, u64>,
    /// Keys without recorded changes.
    pub unknown_keys: Vec<String>,
    /// Former and later keys of rows whose key an update changed. Changes recorded under those keys
    /// are only redacted if you name the keys too.
    pub moved_keys: Vec<String>,
}

/// The outcome of a redaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedactionReport {
    /// The number of named rows that have changes.
    pub rows: u64,
    /// The number of changes that had values to replace; 0 if the redaction was already done.
    pub changes: u64,
    /// The number of values replaced, in the rows before and after the changes.
    pub values: u64,
    /// See [`RedactionPlan::moved_keys`].
    pub moved_keys: Vec<String>,
    /// The [action](crate::action()) that records the redaction.
    pub action_id: uuid::Uuid,
}
