//! Expressions for times that the audit log knows, to select or to pass to [`as_of`](crate::as_of).

diesel::define_sql_function! {
    /// The time an audit transaction took effect: the time of its last change. Reading as of this
    /// time shows all of its changes.
    ///
    /// Running it fails if there is no such transaction. See
    /// [`as_of_transaction`](crate::as_of_transaction).
    #[sql_name = "threadline.after_transaction"]
    fn after_transaction(id: diesel::sql_types::Uuid) -> diesel::sql_types::Timestamptz;
}

diesel::define_sql_function! {
    /// The last moment before an audit transaction took effect. Reading as of this time shows none
    /// of its changes.
    ///
    /// Running it fails if there is no such transaction. See
    /// [`as_of_transaction`](crate::as_of_transaction).
    #[sql_name = "threadline.before_transaction"]
    fn before_transaction(id: diesel::sql_types::Uuid) -> diesel::sql_types::Timestamptz;
}

diesel::define_sql_function! {
    /// The time up to which the past is final: no transaction can take effect at or before it any
    /// more.
    ///
    /// A transaction takes effect at its last change and becomes visible when it commits, a moment
    /// later. A query as of a time just before now can therefore return different rows when it is
    /// repeated. A query as of `settled_at` or an earlier time cannot.
    ///
    /// It is the start of the oldest open transaction in this database that has written, or now. A
    /// *prepared* transaction stays open until it is committed or rolled back, so a forgotten one
    /// holds this time back. The owner of the schema `threadline` may not be allowed to see all
    /// other sessions. For those it cannot see, the function falls back to the start of an earlier
    /// audited transaction; `GRANT pg_read_all_stats` to that owner makes the result exact. In a
    /// transaction with a higher isolation level than `READ COMMITTED`, the result is no later than
    /// the start of that transaction.
    ///
    /// Query this time first, and then read as of the result. Used as an expression inside
    /// [`as_of`](crate::as_of), it would be evaluated many times, and would count transactions that
    /// the query, which began earlier, cannot see.
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use threadline_test_support::Database;
    /// # diesel::table! { users { id -> Integer, name -> Text } }
    /// # let database = Database::new();
    /// # let mut conn = database.connect();
    /// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
    /// # threadline::capture::install(&mut conn, &[threadline::TableSpec::new(users::table)]).unwrap();
    /// # diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Ada"))).execute(&mut conn)?;
    /// let settled: chrono::DateTime<chrono::Utc> = diesel::select(threadline::settled_at()).get_result(&mut conn)?;
    /// let count: i64 = threadline::as_of(settled, users::table.count()).get_result(&mut conn)?;
    /// assert_eq!(count, 1);
    /// # Ok::<_, diesel::result::Error>(())
    /// ```
    #[sql_name = "threadline.settled_at"]
    fn settled_at() -> diesel::sql_types::Timestamptz;
}
