//! Times that the audit log knows of, as expressions: to read as of, or to select.

diesel::define_sql_function! {
    /// When an audit transaction took effect: the time of its last change. Reading as of it shows all of it.
    ///
    /// Running it fails if there is no such transaction. See [`as_of_transaction`](crate::as_of_transaction).
    #[sql_name = "threadline.after_transaction"]
    fn after_transaction(id: diesel::sql_types::Uuid) -> diesel::sql_types::Timestamptz;
}

diesel::define_sql_function! {
    /// The last moment before an audit transaction took effect. Reading as of it shows nothing of it.
    ///
    /// Running it fails if there is no such transaction. See [`as_of_transaction`](crate::as_of_transaction).
    #[sql_name = "threadline.before_transaction"]
    fn before_transaction(id: diesel::sql_types::Uuid) -> diesel::sql_types::Timestamptz;
}

diesel::define_sql_function! {
    /// Up to when the past is final: no transaction can take effect at or before this time any more.
    ///
    /// A transaction takes effect at its last change and becomes visible when it commits, a moment later. So a reading
    /// as of a time that lies just below now can turn out differently when it is repeated. One as of `settled_at` or
    /// earlier cannot.
    ///
    /// It is the start of the oldest transaction that has written and is still open in this database, or now. A
    /// *prepared* transaction is open until it is committed or rolled back, so one that was forgotten holds it back. What
    /// the owner of the schema `threadline` may not see of other sessions, it assumes at the start of an earlier audited transaction:
    /// `GRANT pg_read_all_stats` to that owner makes it exact. In a transaction of a higher isolation level than
    /// `READ COMMITTED`, it is no later than the start of that transaction.
    ///
    /// Ask for it first, and read as of the answer. As an expression within [`as_of`](crate::as_of) it would be asked
    /// for again and again, and know of transactions that the query, which began earlier, does not see.
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
