//! Times that the record knows of, as expressions: to read as of, or to select.

diesel::define_sql_function! {
    /// When the audit transaction took effect: the time of its last change.
    #[sql_name = "threadline.after_transaction"]
    fn after_transaction(id: diesel::sql_types::Uuid) -> diesel::sql_types::Timestamptz;
}

diesel::define_sql_function! {
    /// The last moment before the audit transaction took effect.
    #[sql_name = "threadline.before_transaction"]
    fn before_transaction(id: diesel::sql_types::Uuid) -> diesel::sql_types::Timestamptz;
}

diesel::define_sql_function! {
    /// Up to when the past is final.
    #[sql_name = "threadline.settled_at"]
    fn settled_at() -> diesel::sql_types::Timestamptz;
}
