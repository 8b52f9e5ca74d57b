use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::Jsonb;
use diesel::{QueryResult, RunQueryDsl};

use super::filter::{Filter, Page};
use super::params::{Key, Params};
use crate::context::ActorRef;
use crate::error::Error;
use crate::query::rows::ActionCursor;
use crate::telemetry;

/// The recorded actions, the newest first: a page of [`Action`](crate::Action) at a time. Also those that stand alone, with no
/// change in their transaction.
///
/// Each call narrows it down, in any combination, and those of one kind take the place of each other.
///
/// ```sql
/// SELECT threadline_internal.action_json("threadline_action") FROM threadline.actions($1, $2, $3) AS "threadline_action"
/// ```
///
/// # Errors
///
/// The reader needs what `threadline.grant_reader` gives.
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::Action;
/// use threadline::prelude::*;
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// let root = AuditContext::new(ActorRef::admin("root"));
/// NewAction::new("report.exported").context(&root).record(&mut conn)?;
/// NewAction::new("report.sent").context(&root).record(&mut conn)?;
///
/// let page: Vec<Action> = threadline::actions().actor(&ActorRef::admin("root")).limit(1).load(&mut conn)?;
/// assert_eq!(page[0].name, "report.sent");
/// let next: Vec<Action> = threadline::actions().before(page[0].cursor()).load(&mut conn)?;
/// assert_eq!(next[0].name, "report.exported");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn actions() -> Actions {
    telemetry::query("actions", None);
    Actions { page: Page::new() }
}

/// The recorded action with this id: loads one [`Action`](crate::Action), or is
/// [`NotFound`](diesel::result::Error::NotFound); else as [`actions`].
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::Action;
/// use threadline::prelude::*;
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// let ctx = AuditContext::new(ActorRef::admin("root"));
/// let recorded = NewAction::new("report.exported").context(&ctx).record(&mut conn)?;
/// let action: Action = threadline::action(recorded.id).get_result(&mut conn)?;
/// assert_eq!(action.name, "report.exported");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn action(id: uuid::Uuid) -> Actions {
    let mut action = actions();
    action.page.filter.set("action_id", id.to_string());
    action
}

/// A page of the recorded actions: made by [`actions`].
#[derive(Debug, Clone)]
#[must_use = "actions are only read when they are loaded"]
pub struct Actions {
    pub(super) page: Page,
}

impl Actions {
    /// Filters as text, by the names of these methods: out of a command line, or the query of a URL.
    ///
    /// The keys are `actor`, `before`, `correlation_id`, `since`, `limit`, `name` and `until`; the values and the rules are those of
    /// [`Timeline::params`](crate::Timeline::params).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidFilter`], which names everything that is wrong.
    ///
    /// # Example
    ///
    /// ```
    /// let page = threadline::actions().params([("name", "user.invited"), ("limit", "20")])?;
    /// # Ok::<_, threadline::Error>(())
    /// ```
    pub fn params<K, V>(self, pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, Error>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        self.read(pairs)
    }

    /// Those of this name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.page.filter.set("name", name.into());
        self
    }

    /// Those of this actor.
    pub fn actor(mut self, actor: &ActorRef) -> Self {
        self.page.filter.set_actor("actor_ref", actor);
        self
    }

    /// Those with this correlation id.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.page.filter.set("correlation_id", id.into());
        self
    }

    /// Those recorded at this time or later.
    pub fn since(mut self, time: DateTime<Utc>) -> Self {
        self.page.filter.set_time("since", time);
        self
    }

    /// Those recorded at this time or earlier.
    pub fn until(mut self, time: DateTime<Utc>) -> Self {
        self.page.filter.set_time("until", time);
        self
    }

    /// Those that come after this position, and so are older.
    pub fn before(mut self, cursor: ActionCursor) -> Self {
        self.page.before = Some(cursor.0);
        self
    }

    /// At most this many; 50 unless told otherwise.
    pub fn limit(mut self, actions: u16) -> Self {
        self.page.limit = actions.into();
        self
    }
}

impl Query for Actions {
    type SqlType = Jsonb;
}

impl<Conn> RunQueryDsl<Conn> for Actions {}

/// The SQL is always the same.
impl QueryId for Actions {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for Actions {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT threadline_internal.action_json(\"threadline_action\") FROM ");
        self.page.walk("threadline.actions", out.reborrow())?;
        out.push_sql(" AS \"threadline_action\"");
        Ok(())
    }
}

impl Params for Actions {
    fn keys() -> Vec<Key<Self>> {
        vec![
            Key::actor("actor", "actor_ref"),
            Key::before(|query: &mut Self, _, text| {
                let cursor: ActionCursor = text.parse().ok()?;
                query.page.before = Some(cursor.0);
                Some(())
            }),
            Key::text("correlation_id"),
            Key::since(),
            Key::limit(),
            Key::text("name"),
            Key::until(),
        ]
    }

    fn filter_mut(&mut self) -> &mut Filter {
        &mut self.page.filter
    }

    fn limit_mut(&mut self) -> &mut i32 {
        &mut self.page.limit
    }

    fn has(&self, kept_as: &str) -> bool {
        match kept_as {
            "before" => self.page.before.is_some(),
            key => self.page.filter.has(key),
        }
    }
}
