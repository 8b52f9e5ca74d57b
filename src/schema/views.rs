//! The views of the schema `threadline` that report on the audit log. Diesel prints no views, so these are written by hand, and
//! a test compares them with the database. The key that each `table!` needs is only Diesel's.

diesel::table! {
    /// Each table that is or was under capture, with the times of its oldest and its latest change.
    threadline.capture_activity (table_schema, table_name) {
        /// Its schema.
        table_schema -> Text,
        /// Its name.
        table_name -> Text,
        /// Every change from this time on is recorded.
        capture_since -> Timestamptz,
        /// When capture was ended; NULL while it goes on.
        capture_ended_at -> Nullable<Timestamptz>,
        /// When its oldest change in the audit log was captured; NULL without any.
        first_captured_at -> Nullable<Timestamptz>,
        /// When its latest change in the audit log was captured.
        last_captured_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    /// Each table that is, was or could be audited, and since when its past is known.
    threadline.continuity (table_schema, table_name) {
        /// Its schema.
        table_schema -> Text,
        /// Its name.
        table_name -> Text,
        /// audited, ended or uncovered.
        state -> Text,
        /// Every change from this time on was recorded; NULL unless it is or was audited.
        capture_since -> Nullable<Timestamptz>,
        /// The earliest time as of which it can be read; NULL unless it is audited.
        readable_since -> Nullable<Timestamptz>,
        /// About how many rows it has now, partitions included.
        row_estimate -> Int8,
        /// Whether the rows that were there at `readable_since` are recorded: complete, none or partial; NULL unless it is audited.
        baseline -> Nullable<Text>,
        /// How many of them are recorded as snapshots; NULL without a baseline.
        baseline_rows -> Nullable<Int8>,
        /// Whether the history of each row, the past of the table and a baseline are known or possible.
        ready -> Bool,
        /// What is known and what is not, in words.
        message -> Text,
        /// What to do about it.
        hint -> Nullable<Text>,
    }
}

diesel::table! {
    /// Every table of the database, and whether it is audited, exempt or uncovered.
    threadline.coverage (table_schema, table_name) {
        /// Its schema.
        table_schema -> Text,
        /// Its name.
        table_name -> Text,
        /// audited, exempt or uncovered.
        state -> Text,
        /// Why it need not be audited; NULL unless it is exempt.
        reason -> Nullable<Text>,
        /// Whether capture runs once per row or once per statement; NULL unless it is audited.
        granularity -> Nullable<Text>,
        /// Every change from this time on is recorded; NULL unless it is audited.
        capture_since -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    /// What is wrong with the audit log and with capture.
    threadline.health (check, message) {
        /// Which check found it: a word for programs, such as `trigger_missing`.
        check -> Text,
        /// error or warning.
        severity -> Text,
        /// The schema of the table that it is about, if it is about one.
        table_schema -> Nullable<Text>,
        /// The table that it is about.
        table_name -> Nullable<Text>,
        /// What is wrong.
        message -> Text,
        /// What to do about it.
        hint -> Text,
    }
}

diesel::table! {
    /// What a purge would remove now, by partition and table.
    threadline.retention_plan (partition, table_schema, table_name) {
        /// The partition, without its schema.
        partition -> Text,
        /// The schema of the table.
        table_schema -> Text,
        /// The table.
        table_name -> Text,
        /// A purge removes changes from before this time.
        retention_cutoff -> Nullable<Timestamptz>,
        /// Whether the partition is dropped as a whole; else changes are deleted in batches.
        is_dropped -> Bool,
        /// How many changes a purge removes.
        changes -> Int8,
        /// How many changes of the table stay in this partition: younger ones, and those under a legal hold.
        kept -> Int8,
    }
}

diesel::table! {
    /// The size of each table and partition of the audit log.
    threadline.storage_usage (table_name) {
        /// Its name.
        table_name -> Text,
        /// The start of the month whose changes it holds; NULL if it is not a monthly partition.
        changes_from -> Nullable<Timestamptz>,
        /// The end of that month.
        changes_before -> Nullable<Timestamptz>,
        /// About how many rows it has.
        row_estimate -> Int8,
        /// Its size on disk in bytes, indexes included.
        total_bytes -> Int8,
    }
}
