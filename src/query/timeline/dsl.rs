//! The filters of a [`Timeline`].

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

/// Filters by table. Without one, a timeline covers all tables.
impl Timeline {
    /// Keeps changes of this table, such as `users::table`. A second call adds another table.
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
        /// Keeps changes of the table with this name, written as in SQL: `users`, `blog.posts`,
        /// `"Odd Name"`. A second call adds another table.
        fn table_named(name: impl Into<String>);
    }
}

impl<R: Recorded> Timeline<R> {
    params! {
        /// Sets filters from text, such as the arguments of a command line or the query of a URL.
        /// The keys are the names of these methods.
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
        /// An actor is its type, a colon and its id. A time is in RFC 3339 format. A date means the
        /// start of that day in UTC for `since`, and its end for `until`. `table` (unless the
        /// timeline belongs to a model) and `op` may occur several times. Nothing is ignored.
        ///
        /// Filters set before this call are fixed: the call rejects their keys, so that a client
        /// can never read beyond them. A setter called afterwards replaces a filter as usual.
        ///
        /// # Errors
        ///
        /// [`Error::InvalidFilter`], which names every mistake: each key that is unknown, fixed or
        /// repeated, and each value that is empty or invalid for its key.
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
        /// Keeps changes by this actor.
        fn actor(actor: &ActorRef);

        /// Keeps changes on behalf of this actor, whoever made them.
        fn on_behalf_of(actor: &ActorRef);

        /// Keeps changes with this correlation id: their own, or that of an action in their
        /// transaction.
        fn correlation_id(id: impl Into<String>);

        /// Keeps changes of this transaction.
        fn transaction(id: uuid::Uuid);

        /// Keeps changes of transactions that recorded an action with this name.
        fn action(name: impl Into<String>);

        /// Keeps changes of the transaction that recorded this action.
        fn action_id(id: uuid::Uuid);

        /// Keeps changes of this kind. A second call adds another kind.
        fn op(op: Op);

        /// Keeps changes of this column, by its name when the change was recorded. An insert, a
        /// delete and a truncate change every column.
        fn column(column: impl Into<String>);

        /// Keeps changes of the row with this primary key, as text that the types of the key can
        /// parse, or as a JSON array if the key has several columns. The database raises an error
        /// if the text is not a key of the table, or, without a table, not a key of any audited
        /// table.
        fn row_key(key: impl Into<String>);

        /// Keeps changes at this time or later.
        fn since(time: DateTime<Utc>);

        /// Keeps changes at this time or earlier.
        fn until(time: DateTime<Utc>);

        /// Starts after this position in the order of the timeline, with older changes. Does not
        /// affect the result of `count`.
        fn before(cursor: TimelineCursor);

        /// Limits the page to this number of entries; 50 by default.
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
