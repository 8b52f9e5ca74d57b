/// What a redaction would do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedactionPlan {
    /// How many of the rows that were named have changes.
    pub rows: u64,
    /// How many changes have values to be replaced.
    pub changes: u64,
    /// How many values of each column are to be replaced, of both images of the changes.
    pub values: std::collections::BTreeMap<String, u64>,
    /// Keys that nothing is recorded of.
    pub unknown_keys: Vec<String>,
    /// Keys that the rows had before an update changed them, or have since. What is recorded under those is only
    /// redacted if they are named, too.
    pub moved_keys: Vec<String>,
}

/// What was redacted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedactionReport {
    /// How many of the rows that were named have changes.
    pub rows: u64,
    /// How many changes had values to be replaced; none when it was done before.
    pub changes: u64,
    /// How many values were replaced, of both images of the changes.
    pub values: u64,
    /// See [`RedactionPlan::moved_keys`].
    pub moved_keys: Vec<String>,
    /// The [action](crate::action()) that it was recorded as.
    pub action_id: uuid::Uuid,
}
