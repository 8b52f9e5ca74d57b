use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::Jsonb;
use diesel::{QueryResult, RunQueryDsl};

use super::page::Page;
use super::params::{Key, params};
use crate::context::ActorRef;
use crate::error::Error;
use crate::query::rows::ActionCursor;
use crate::setters::setters;
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
    Actions {
        page: Page::new(None),
    }
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
    action.page.action_id(id);
    action
}

/// A page of the recorded actions: made by [`actions`].
#[derive(Debug, Clone, QueryId)]
#[must_use = "actions are only read when they are loaded"]
pub struct Actions {
    page: Page<ActionCursor>,
}

impl Actions {
    params! {
        /// Filters as text, by the names of these methods: from a command line or the query of a URL.
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
    }

    setters! { page:
        /// Actions of this name.
        fn name(name: impl Into<String>);

        /// Actions of this actor.
        fn actor(actor: &ActorRef);

        /// Actions with this correlation id.
        fn correlation_id(id: impl Into<String>);

        /// Actions recorded at this time or later.
        fn since(time: DateTime<Utc>);

        /// Actions recorded at this time or earlier.
        fn until(time: DateTime<Utc>);

        /// Actions that come after this position, and so are older.
        fn before(cursor: ActionCursor);

        /// At most this many actions, 50 by default.
        fn limit(actions: u16);
    }

    fn keys() -> Vec<Key<ActionCursor>> {
        vec![
            Key::actor("actor", "actor_ref"),
            Key::before(),
            Key::text("correlation_id"),
            Key::since(),
            Key::limit(),
            Key::text("name"),
            Key::until(),
        ]
    }
}

impl Query for Actions {
    type SqlType = Jsonb;
}

impl<Conn> RunQueryDsl<Conn> for Actions {}

impl QueryFragment<Pg> for Actions {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT threadline_internal.action_json(\"threadline_action\") FROM ");
        self.page.walk("threadline.actions", out.reborrow())?;
        out.push_sql(" AS \"threadline_action\"");
        Ok(())
    }
}
