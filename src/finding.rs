use std::fmt;

/// What is wrong with the audit of a table, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The table, as `schema.table`; as the model's `table!` names it where the database has none.
    pub table: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

#[cfg(feature = "__connection")]
impl Finding {
    pub(crate) fn new(table: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            table: table.to_owned(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n  {}", self.table, self.message, self.hint)
    }
}

/// Each on lines of its own, since they are read by whoever ran a test.
pub(crate) fn list(findings: &[Finding]) -> String {
    let lines = findings
        .iter()
        .flat_map(|f| ["\n".to_owned(), f.to_string()]);
    lines.collect()
}
