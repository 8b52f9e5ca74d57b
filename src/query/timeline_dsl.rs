//! What a [`Timeline`] is narrowed down to.

use chrono::{DateTime, Utc};

use super::audited::Audited;
use super::cursor::Cursor;
use super::recorded_change::Op;
use super::recorded_rows::Recorded;
use super::timeline::Timeline;
use crate::base::rendered;
use crate::context::ActorRef;

/// Of all tables, unless named.
impl Timeline {
    /// Changes of this table, named as in SQL: `users`, `blog.posts`, `"Odd Name"`. Called again, of that one as well.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.tables.get_or_insert_default().push(name.into());
        self
    }

    /// Changes of the table of a model. Called again, of that one as well.
    pub fn table_of<M: Audited>(self) -> Self {
        self.table(rendered(&M::Table::default()))
    }
}

impl<R: Recorded> Timeline<R> {
    /// Changes by this actor.
    pub fn actor(mut self, actor: &ActorRef) -> Self {
        self.filter.set_actor("actor_ref", actor);
        self
    }

    /// Changes for this one, by whoever acted on its behalf.
    pub fn on_behalf_of(mut self, actor: &ActorRef) -> Self {
        self.filter.set_actor("on_behalf_of", actor);
        self
    }

    /// Changes with this correlation id: their own, or that of an action of their transaction.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.filter.set("correlation_id", id.into());
        self
    }

    /// Changes of this transaction.
    pub fn transaction(mut self, id: uuid::Uuid) -> Self {
        self.filter.set("transaction_id", id.to_string());
        self
    }

    /// Changes of transactions in which an action of this name was recorded.
    pub fn action(mut self, name: impl Into<String>) -> Self {
        self.filter.set("action", name.into());
        self
    }

    /// Changes of the transaction in which this action was recorded.
    pub fn action_id(mut self, id: uuid::Uuid) -> Self {
        self.filter.set("action_id", id.to_string());
        self
    }

    /// Changes of this kind. Called again, of that kind as well.
    pub fn op(mut self, op: Op) -> Self {
        self.filter.add("ops", op.as_str());
        self
    }

    /// Changes of this column, by the name that it had when the change was recorded. An insert, a delete and a truncation are
    /// changes of every column.
    pub fn field(mut self, column: impl Into<String>) -> Self {
        self.filter.set("field", column.into());
        self
    }

    /// Changes of the row with this primary key, as text; of a composite one, as the JSON array of its columns.
    pub fn row_key(mut self, key: impl Into<String>) -> Self {
        self.filter.set("row_key", key.into());
        self
    }

    /// Changes at this time or later.
    pub fn from(mut self, time: DateTime<Utc>) -> Self {
        self.filter.set_time("from", time);
        self
    }

    /// Changes at this time or earlier.
    pub fn to(mut self, time: DateTime<Utc>) -> Self {
        self.filter.set_time("to", time);
        self
    }

    /// Changes that come after this position in the order of the timeline, and so are older. Those that `count` counts do not
    /// depend on it.
    pub fn before(mut self, cursor: Cursor) -> Self {
        self.before_at = Some(cursor.captured_at);
        self.before_id = Some(cursor.id);
        self
    }

    /// At most this many entries; 50 unless told otherwise.
    pub fn limit(mut self, entries: u16) -> Self {
        self.limit = entries.into();
        self
    }
}
