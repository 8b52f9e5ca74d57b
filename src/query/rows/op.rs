use crate::text_enum::text_enum;

text_enum! {
    /// What happened to a row.
    pub enum Op {
        /// The row was deleted, or its primary key changed and the row with the old key ends here.
        Delete = "delete",
        /// The row was inserted, or its primary key changed and the row with the new key begins
        /// here.
        Insert = "insert",
        /// The row existed before capture began, and a baseline recorded its state at that time.
        /// The row itself did not change.
        Snapshot = "snapshot",
        /// The row was removed by `TRUNCATE`.
        Truncate = "truncate",
        /// The row was updated.
        Update = "update",
    }
}
