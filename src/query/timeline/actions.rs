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

/// Queries the recorded actions, newest first: loads a page of [`Action`](crate::Action). Includes
/// actions whose transaction changed nothing.
///
/// Filters combine with `AND`. Calling a filter again replaces its value.
///
/// ```sql
/// SELECT threadline_internal.action_json("threadline_action") FROM threadline.actions($1, $2, $3) AS "threadline_action"
/// ```
///
/// # Errors
///
/// The reader needs the rights that `threadline.grant_reader` gives.
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

/// Queries the recorded action with this id: loads one [`Action`](crate::Action), or returns
/// [`NotFound`](diesel::result::Error::NotFound). Otherwise as [`actions`].
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

/// A query for a page of the recorded actions. Created by [`actions`].
#[derive(Debug, Clone, QueryId)]
#[must_use = "actions are only read when they are loaded"]
pub struct Actions {
    page: Page<ActionCursor>,
}

impl Actions {
    params! {
        /// Sets filters from text, such as the arguments of a command line or the query of a URL.
        /// The keys are the names of these methods.
        ///
        /// The keys are `actor`, `before`, `correlation_id`, `since`, `limit`, `name` and `until`.
        /// The values and rules are those of [`Timeline::params`](crate::Timeline::params).
        ///
        /// # Errors
        ///
        /// [`Error::InvalidFilter`], which names every mistake.
        ///
        /// # Example
        ///
        /// ```
        /// let page = threadline::actions().params([("name", "user.invited"), ("limit", "20")])?;
        /// # Ok::<_, threadline::Error>(())
        /// ```
    }

    setters! { page:
        /// Keeps actions with this name.
        fn name(name: impl Into<String>);

        /// Keeps actions of this actor.
        fn actor(actor: &ActorRef);

        /// Keeps actions with this correlation id.
        fn correlation_id(id: impl Into<String>);

        /// Keeps actions recorded at this time or later.
        fn since(time: DateTime<Utc>);

        /// Keeps actions recorded at this time or earlier.
        fn until(time: DateTime<Utc>);

        /// Starts after this position, with older actions.
        fn before(cursor: ActionCursor);

        /// Limits the page to this number of actions; 50 by default.
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
