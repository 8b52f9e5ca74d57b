use std::fmt;

/// A problem with the audit of a table, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The table, as `schema.table`. If the database does not have the table, the name in the
    /// model's `table!`.
    pub table: String,
    /// The problem.
    pub message: String,
    /// How to fix it.
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

/// Formats each finding on lines of its own, for the output of a failed test.
pub(crate) fn list(findings: &[Finding]) -> String {
    let lines = findings
        .iter()
        .flat_map(|f| ["\n".to_owned(), f.to_string()]);
    lines.collect()
}
