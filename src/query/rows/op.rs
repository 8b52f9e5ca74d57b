use crate::text_enum::text_enum;

text_enum! {
    /// What happened to a row.
    pub enum Op {
        /// It was deleted, or its primary key changed and this is the end of the old one.
        Delete = "delete",
        /// It was inserted, or its primary key changed and this is the beginning of the new one.
        Insert = "insert",
        /// It was there before capture began, and a baseline recorded it as it was then: nothing happened to it.
        Snapshot = "snapshot",
        /// It was removed by `TRUNCATE`.
        Truncate = "truncate",
        /// It was updated.
        Update = "update",
    }
}
