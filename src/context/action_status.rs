use crate::text_enum::text_enum;

text_enum! {
    /// How an action ended.
    pub enum ActionStatus {
        /// It failed or was refused.
        Error = "error",
        /// It succeeded.
        Ok = "ok",
    }
}
