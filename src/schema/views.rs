//! The views of the schema `threadline` that report on the audit log. Diesel does not print views,
//! so these are written by hand, and a test compares them with the database. Only Diesel needs the
//! key of each `table!`.

diesel::table! {
    /// Every table that is or was under capture, with the times of its oldest and latest changes.
    threadline.capture_activity (table_schema, table_name) {
        /// The schema of the table.
        table_schema -> Text,
        /// The name of the table.
        table_name -> Text,
        /// Every change from this time on is recorded.
        capture_since -> Timestamptz,
        /// When capture ended; NULL while it is active.
        capture_ended_at -> Nullable<Timestamptz>,
        /// When the oldest change in the audit log was captured; NULL if there are no changes.
        first_captured_at -> Nullable<Timestamptz>,
        /// When the latest change in the audit log was captured; NULL if there are no changes.
        last_captured_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    /// Every table that is, was or could be audited, and how far back its past is known.
    threadline.continuity (table_schema, table_name) {
        /// The schema of the table.
        table_schema -> Text,
        /// The name of the table.
        table_name -> Text,
        /// `audited`, `ended` or `uncovered`.
        state -> Text,
        /// Every change from this time on was recorded; NULL if the table was never audited.
        capture_since -> Nullable<Timestamptz>,
        /// The earliest time that the table can be read as of; NULL unless it is audited.
        readable_since -> Nullable<Timestamptz>,
        /// The approximate number of rows in the table now, including partitions.
        row_estimate -> Int8,
        /// Whether the rows that existed at `readable_since` are recorded: `complete`, `none` or
        /// `partial`; NULL unless the table is audited.
        baseline -> Nullable<Text>,
        /// The number of those rows that are recorded as snapshots; NULL without a baseline.
        baseline_rows -> Nullable<Int8>,
        /// Whether the history of every row, the past of the table and a baseline are known or
        /// possible.
        ready -> Bool,
        /// A description of what is and is not known.
        message -> Text,
        /// How to complete it, if possible.
        hint -> Nullable<Text>,
    }
}

diesel::table! {
    /// Every table of the database, and whether it is audited, exempt or uncovered.
    threadline.coverage (table_schema, table_name) {
        /// The schema of the table.
        table_schema -> Text,
        /// The name of the table.
        table_name -> Text,
        /// `audited`, `exempt` or `uncovered`.
        state -> Text,
        /// The reason for the exemption; NULL unless the table is exempt.
        reason -> Nullable<Text>,
        /// Whether capture runs once per row or once per statement; NULL unless the table is
        /// audited.
        granularity -> Nullable<Text>,
        /// Every change from this time on is recorded; NULL unless the table is audited.
        capture_since -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    /// The problems of the audit log and of capture.
    threadline.health (check, message) {
        /// The check that found it: a word for programs, such as `trigger_missing`.
        check -> Text,
        /// `error` or `warning`.
        severity -> Text,
        /// The schema of the affected table; NULL if the problem is not about a table.
        table_schema -> Nullable<Text>,
        /// The affected table.
        table_name -> Nullable<Text>,
        /// The problem.
        message -> Text,
        /// How to fix it.
        hint -> Text,
    }
}

diesel::table! {
    /// What a purge would remove now, by partition and table.
    threadline.retention_plan (partition, table_schema, table_name) {
        /// The name of the partition, without its schema.
        partition -> Text,
        /// The schema of the table.
        table_schema -> Text,
        /// The name of the table.
        table_name -> Text,
        /// A purge removes changes from before this time.
        retention_cutoff -> Nullable<Timestamptz>,
        /// Whether the whole partition is dropped. Otherwise the changes are deleted in batches.
        is_dropped -> Bool,
        /// The number of changes that a purge removes.
        changes -> Int8,
        /// The number of changes of the table that stay in this partition, because they are newer
        /// or under a legal hold.
        kept -> Int8,
    }
}

diesel::table! {
    /// The size of each table and partition of the audit log.
    threadline.storage_usage (table_name) {
        /// The name of the table.
        table_name -> Text,
        /// The start of the month whose changes it holds; NULL if it is not a monthly partition.
        changes_from -> Nullable<Timestamptz>,
        /// The end of that month.
        changes_before -> Nullable<Timestamptz>,
        /// The approximate number of rows.
        row_estimate -> Int8,
        /// The size on disk in bytes, including indexes.
        total_bytes -> Int8,
    }
}
