use std::borrow::Cow;

use super::text;
use crate::text_enum::text_enum;

text_enum! {
    /// The format of exported changes.
    ///
    /// A change has the same members in every format: `id` (as a string), `transaction_id`,
    /// `table_schema`, `table_name`, `op`, `captured_at`, `table_pk` (an object), `data_after`,
    /// `changed_fields`, `changed_from`, `transaction` (the actor and the other context fields at
    /// the time of the change), `row_key` and `moved_key` (see [`Change`](crate::Change)),
    /// `actions`. Times are in RFC 3339 format, in UTC.
    ///
    /// JSON has escapes (`\u202e`) for invisible characters and for characters that control a
    /// terminal.
    pub enum ExportFormat {
        /// CSV as in RFC 4180, with the header `id, transaction_id, table_schema, table_name, op,
        /// captured_at, table_pk, data_after, changed_fields, changed_from, transaction_json,
        /// row_key, moved_key, actions_json`. All columns after the first six are JSON.
        ///
        /// Spreadsheets execute text that looks like a formula. A name that begins like a formula
        /// (with `=`, `+`, `-` or `@`, also as full-width characters or after spaces), or with a
        /// tab, a line end or a quote `'`, therefore gets a `'` in front. The same applies after
        /// each `;`, tab and line end inside it. A `;` in JSON, at which some spreadsheets split,
        /// is written as `\u003b`, which JSON readers treat as the same character.
        Csv = "csv",
        /// One object: `format_version` (1), `generated_at`, `filter` and `changes`, followed by
        /// `returned_count`, `truncated` and `next`.
        Json = "json",
        /// One JSON object per line, and nothing else.
        Ndjson = "ndjson",
    }
}

/// Functions that the command line shares with exports.
#[doc(hidden)]
impl ExportFormat {
    pub fn csv_text(text: &str) -> Cow<'_, str> {
        text::text_cell(text)
    }

    pub fn csv_json(json: &str) -> Cow<'_, str> {
        text::json_cell(json)
    }

    pub fn visible_json(json: &str) -> Cow<'_, str> {
        text::visible_json(json)
    }

    pub fn is_hidden(c: char) -> bool {
        text::is_hidden(c)
    }
}
