//! What a [`Timeline`] is narrowed down to.

use chrono::{DateTime, Utc};
use diesel::Table;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;

use super::Timeline;
use super::filter::Filter;
use super::params::{Key, Params, TEXT, storable};
use super::rows::Recorded;
use crate::context::ActorRef;
use crate::error::Error;
use crate::query::rows::{Op, TimelineCursor};
use crate::sql::rendered;

/// Of all tables, unless named.
impl Timeline {
    /// Changes of this table, such as `users::table`. Called again, of that one as well.
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

    /// Changes of the table with this name, as in SQL: `users`, `blog.posts`, `"Odd Name"`. Called again, of that one as
    /// well.
    pub fn table_named(mut self, name: impl Into<String>) -> Self {
        self.page.tables.get_or_insert_default().push(name.into());
        self
    }
}

impl<R: Recorded> Timeline<R> {
    /// Filters as text, by the names of these methods: out of a command line, or the query of a URL.
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
    /// `until`, in UTC. `table` (where the timeline is not that of a model) and `op` may come several times. Nothing is ignored.
    ///
    /// What was said before is fixed: a key for it is refused, so what a client sends never reaches beyond that. What is
    /// said afterwards takes its place, as ever.
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
    pub fn params<K, V>(self, pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, Error>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        self.read(pairs)
    }

    /// Changes by this actor.
    pub fn actor(mut self, actor: &ActorRef) -> Self {
        self.page.filter.set_actor("actor_ref", actor);
        self
    }

    /// Changes for this one, by whoever acted on its behalf.
    pub fn on_behalf_of(mut self, actor: &ActorRef) -> Self {
        self.page.filter.set_actor("on_behalf_of", actor);
        self
    }

    /// Changes with this correlation id: their own, or that of an action of their transaction.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.page.filter.set("correlation_id", id.into());
        self
    }

    /// Changes of this transaction.
    pub fn transaction(mut self, id: uuid::Uuid) -> Self {
        self.page.filter.set("transaction_id", id.to_string());
        self
    }

    /// Changes of transactions in which an action of this name was recorded.
    pub fn action(mut self, name: impl Into<String>) -> Self {
        self.page.filter.set("action", name.into());
        self
    }

    /// Changes of the transaction in which this action was recorded.
    pub fn action_id(mut self, id: uuid::Uuid) -> Self {
        self.page.filter.set("action_id", id.to_string());
        self
    }

    /// Changes of this kind. Called again, of that kind as well.
    pub fn op(mut self, op: Op) -> Self {
        self.page.filter.add("ops", op.as_str());
        self
    }

    /// Changes of this column, by the name that it had when the change was recorded. An insert, a delete and a truncation are
    /// changes of every column.
    pub fn column(mut self, column: impl Into<String>) -> Self {
        self.page.filter.set("column", column.into());
        self
    }

    /// Changes of the row with this primary key, as text; of a composite one, as the JSON array of its columns.
    pub fn row_key(mut self, key: impl Into<String>) -> Self {
        self.page.filter.set("row_key", key.into());
        self
    }

    /// Changes at this time or later.
    pub fn since(mut self, time: DateTime<Utc>) -> Self {
        self.page.filter.set_time("since", time);
        self
    }

    /// Changes at this time or earlier.
    pub fn until(mut self, time: DateTime<Utc>) -> Self {
        self.page.filter.set_time("until", time);
        self
    }

    /// Changes that come after this position in the order of the timeline, and so are older. Those that `count` counts do not
    /// depend on it.
    pub fn before(mut self, cursor: TimelineCursor) -> Self {
        self.page.set_before(cursor);
        self
    }

    /// At most this many entries; 50 unless told otherwise.
    pub fn limit(mut self, entries: u16) -> Self {
        self.page.limit = entries.into();
        self
    }
}

const OPS: &str = "delete, insert, snapshot, truncate or update";

impl<R: Recorded> Params for Timeline<R> {
    fn keys() -> Vec<Key<Self>> {
        let mut keys = vec![
            Key::text("action"),
            Key::id("action_id", "action_id"),
            Key::actor("actor", "actor_ref"),
            Key::before(|query: &mut Self, _, text| {
                let cursor: TimelineCursor = text.parse().ok()?;
                query.page.set_before(cursor);
                Some(())
            }),
            Key::text("correlation_id"),
            Key::text("column"),
            Key::since(),
            Key::limit(),
            Key::actor("on_behalf_of", "on_behalf_of"),
            Key::new("op", "ops", OPS, |query, key, text| {
                let op: Op = text.parse().ok()?;
                query.page.filter.add(key, op.as_str());
                Some(())
            }),
            Key::text("row_key"),
            Key::new("table", "tables", TEXT, |query, _, text| {
                let table = storable(text)?.to_owned();
                query.page.tables.get_or_insert_default().push(table);
                Some(())
            }),
            Key::until(),
            Key::id("transaction", "transaction_id"),
        ];
        if R::OF_ONE_TABLE {
            keys.retain(|key| key.name() != "table");
        }
        keys
    }

    fn filter_mut(&mut self) -> &mut Filter {
        &mut self.page.filter
    }

    fn limit_mut(&mut self) -> &mut i32 {
        &mut self.page.limit
    }

    fn has(&self, kept_as: &str) -> bool {
        match kept_as {
            "before" => self.page.before().is_some(),
            "tables" => self.page.tables.is_some(),
            key => self.page.filter.has(key),
        }
    }
}
