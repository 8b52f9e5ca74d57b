//! What a [`Timeline`] is narrowed down to.

use chrono::{DateTime, Utc};
use diesel::Table;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;

use super::Timeline;
use super::params::{Key, params};
use super::rows::Recorded;
use crate::context::ActorRef;
use crate::error::Error;
use crate::query::rows::{Op, TimelineCursor};
use crate::setters::setters;
use crate::sql::rendered;

/// Of all tables, unless you name some.
impl Timeline {
    /// Changes of this table, such as `users::table`. A second call adds another table.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a table is given by value, as to Diesel"
    )]
    pub fn table<T>(self, table: T) -> Self
    where
        T: Table + QueryFragment<Pg>,
    {
        self.table_named(rendered(&table))
    }

    setters! { page:
        /// Changes of the table with this name, as in SQL: `users`, `blog.posts`, `"Odd Name"`. A second call adds another
        /// table.
        fn table_named(name: impl Into<String>);
    }
}

impl<R: Recorded> Timeline<R> {
    params! {
        /// Filters as text, by the names of these methods: from a command line or the query of a URL.
        ///
        /// | key | value |
        /// |---|---|
        /// | `action` | the name of an action |
        /// | `action_id`, `transaction` | a UUID |
        /// | `actor`, `on_behalf_of` | `user:123`, `anonymous` |
        /// | `before` | a [`TimelineCursor`] |
        /// | `correlation_id`, `column`, `row_key`, `table` | text |
        /// | `since`, `until` | `2026-11-24T09:30:00Z`, `2026-11-24` |
        /// | `limit` | 1 to 65535 |
        /// | `op` | `delete`, `insert`, `snapshot`, `truncate`, `update` |
        ///
        /// An actor is its type, a colon and its id. A time is RFC 3339; a date stands for its beginning in `since` and for its end in
        /// `until`, in UTC. `table` (unless the timeline is that of a model) and `op` may come several times. Nothing is ignored.
        ///
        /// Filters that were set before this call are fixed: it refuses their keys, so a client never reads beyond them. A
        /// setter called afterwards replaces a filter as usual.
        ///
        /// # Errors
        ///
        /// [`Error::InvalidFilter`], which names everything that is wrong: each key that is unknown, fixed or given twice, each value
        /// that is empty or is not what its key takes.
        ///
        /// # Example
        ///
        /// ```
        /// let sent = "actor=user:123&table=users&table=posts&since=2026-11-24&limit=20";
        /// let pairs = sent.split('&').filter_map(|pair| pair.split_once('='));
        /// let page = threadline::timeline().params(pairs)?;
        ///
        /// let error = threadline::timeline().params([("limit", "many"), ("usr", "1")]).unwrap_err().to_string();
        /// assert!(error.starts_with(r#"invalid filter: limit is "many": expected a whole number from 1 to 65535; "usr" is unknown; known are action, "#));
        /// # Ok::<_, threadline::Error>(())
        /// ```
    }

    setters! { page:
        /// Changes by this actor.
        fn actor(actor: &ActorRef);

        /// Changes on behalf of this actor, whoever made them.
        fn on_behalf_of(actor: &ActorRef);

        /// Changes with this correlation id: their own, or that of an action of their transaction.
        fn correlation_id(id: impl Into<String>);

        /// Changes of this transaction.
        fn transaction(id: uuid::Uuid);

        /// Changes of transactions in which an action of this name was recorded.
        fn action(name: impl Into<String>);

        /// Changes of the transaction in which this action was recorded.
        fn action_id(id: uuid::Uuid);

        /// Changes of this kind. A second call adds another kind.
        fn op(op: Op);

        /// Changes of this column, by the name that it had when the change was recorded. An insert, a delete and a truncation
        /// are changes of every column.
        fn column(column: impl Into<String>);

        /// Changes of the row with this primary key, as text that the types of the key read; of several columns, a JSON array.
        /// What is no key of the table, or without a table of no audited one, is an error of the database.
        fn row_key(key: impl Into<String>);

        /// Changes at this time or later.
        fn since(time: DateTime<Utc>);

        /// Changes at this time or earlier.
        fn until(time: DateTime<Utc>);

        /// Changes that come after this position in the order of the timeline, and so are older. It does not alter what
        /// `count` counts.
        fn before(cursor: TimelineCursor);

        /// At most this many entries, 50 by default.
        fn limit(entries: u16);
    }

    fn keys() -> Vec<Key<TimelineCursor>> {
        let mut keys = vec![
            Key::text("action"),
            Key::id("action_id", "action_id"),
            Key::actor("actor", "actor_ref"),
            Key::before(),
            Key::text("correlation_id"),
            Key::text("column"),
            Key::since(),
            Key::limit(),
            Key::actor("on_behalf_of", "on_behalf_of"),
            Key::op(),
            Key::text("row_key"),
            Key::until(),
            Key::id("transaction", "transaction_id"),
        ];
        if !R::OF_ONE_TABLE {
            keys.push(Key::table());
        }
        keys
    }
}
