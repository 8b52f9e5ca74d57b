use crate::text_enum::text_enum;

text_enum! {
    /// How changes are written.
    ///
    /// A change has the same members in all of them: `id` (as a string), `transaction_id`, `table_schema`, `table_name`, `op`, `captured_at`,
    /// `table_pk` (an object), `data_after`, `changed_fields`, `changed_from`, `transaction` (who acted and whatever else its context
    /// said when the change was made), `row_key` and `moved_key` (see [`Change`](crate::Change)), `actions`. Times are RFC 3339 in UTC.
    pub enum ExportFormat {
        /// RFC 4180, with a header: `id, transaction_id, table_schema, table_name, op, captured_at, table_pk, data_after, changed_fields,
        /// changed_from, transaction_json, row_key, moved_key, actions_json`. All but the first six are JSON.
        ///
        /// Spreadsheets run what looks like a formula, so names that begin as one (`=`, `+`, `-`, `@`, tab, return, or a quote `'`) are written
        /// with a `'` before them, and a `;` in JSON, which some of them split at, as `\u003b`, which is the same to readers of JSON.
        Csv = "csv",
        /// One object: `format_version` (1), `generated_at`, `filter`, `changes`, and after these `returned_count`, `truncated` and `next`.
        Json = "json",
        /// A JSON object a line, and nothing else.
        Ndjson = "ndjson",
    }
}
