use std::fmt;

use crate::error::Error;

/// How changes are written.
///
/// A change has the same members in all of them: `id` (as a string), `transaction_id`, `table_schema`, `table_name`, `op`, `captured_at`,
/// `table_pk` (an object), `data_after`, `changed_fields`, `changed_from`, `transaction` (who acted and whatever else its context
/// said when the change was made), `row_key` and `moved_key` (see [`Change`](crate::Change)), `actions`. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ExportFormat {
    /// RFC 4180, with a header: `id, transaction_id, table_schema, table_name, op, captured_at, table_pk, data_after, changed_fields,
    /// changed_from, transaction_json, row_key, moved_key, actions_json`. All but the first six are JSON.
    ///
    /// Spreadsheets run what looks like a formula, so names that begin as one (`=`, `+`, `-`, `@`, tab, return, or a quote `'`) are written
    /// with a `'` before them, and a `;` in JSON, which some of them split at, as `\u003b`, which is the same to readers of JSON.
    Csv,
    /// One object: `format_version` (1), `generated_at`, `filter`, `changes`, and after these `returned_count`, `truncated` and `next`.
    Json,
    /// A JSON object a line, and nothing else.
    Ndjson,
}

impl ExportFormat {
    /// The word for it, which is also what the names of its files end in.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }
    }
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for ExportFormat {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        [Self::Csv, Self::Json, Self::Ndjson]
            .into_iter()
            .find(|format| format.as_str() == word)
            .ok_or_else(|| {
                Error::InvalidExport(format!("{word:?} is no format: csv, json or ndjson"))
            })
    }
}
