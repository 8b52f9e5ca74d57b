use std::borrow::Cow;

use super::text;
use crate::text_enum::text_enum;

text_enum! {
    /// How changes are written.
    ///
    /// A change has the same members in all of them: `id` (as a string), `transaction_id`, `table_schema`, `table_name`, `op`, `captured_at`,
    /// `table_pk` (an object), `data_after`, `changed_fields`, `changed_from`, `transaction` (who acted and whatever else its context
    /// said when the change was made), `row_key` and `moved_key` (see [`Change`](crate::Change)), `actions`. Times are RFC 3339 in UTC.
    ///
    /// JSON has escapes (`\u202e`) for characters that terminals act on or that cannot be seen.
    pub enum ExportFormat {
        /// RFC 4180, with a header: `id, transaction_id, table_schema, table_name, op, captured_at, table_pk, data_after, changed_fields,
        /// changed_from, transaction_json, row_key, moved_key, actions_json`. All but the first six are JSON.
        ///
        /// Spreadsheets run what looks like a formula. So a name that begins as one (`=`, `+`, `-`, `@`, also in full width and after spaces, or
        /// a tab, a line end, a quote `'`) is written with a `'` before it, and likewise after each `;`, tab and line end in it. A `;` in JSON,
        /// which some spreadsheets split at, is written as `\u003b`, which is the same to readers of JSON.
        Csv = "csv",
        /// One object: `format_version` (1), `generated_at`, `filter`, `changes`, and after these `returned_count`, `truncated` and `next`.
        Json = "json",
        /// A JSON object a line, and nothing else.
        Ndjson = "ndjson",
    }
}

/// What the command line has in common with exports.
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
