use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::{QueryResult, RunQueryDsl};

use super::page::Page;
use super::params::{Key, params};
use crate::context::ActorRef;
use crate::error::Error;
use crate::query::rows::TransactionCursor;
use crate::query::rows::transaction::{COLUMNS, SqlType};
use crate::setters::setters;
use crate::telemetry;

/// Queries the audit transactions, newest first by their start: loads a page of
/// [`AuditTransaction`](crate::AuditTransaction), each with its actions.
///
/// Filters combine with `AND`. Calling a filter again replaces its value. To read the changes of a
/// transaction, use
/// [`timeline`](crate::timeline())`().`[`transaction`](crate::Timeline::transaction)`(id)`.
///
/// ```sql
/// SELECT … FROM threadline.transactions($1, $2, $3)
/// ```
///
/// To get the next page, pass the last transaction's position to [`before`](Transactions::before).
/// (A transaction becomes visible when it commits, at the position of its start. The pages are
/// final up to [`settled_at`](fn@crate::settled_at).)
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
/// use threadline::AuditTransaction;
/// use threadline::prelude::*;
///
/// # diesel::table! { users { id -> Integer, name -> Text } }
/// # #[derive(Queryable, Selectable, Audited)]
/// # struct User { id: i32, name: String }
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
/// # threadline::capture::install(&mut conn, &[User::audit_spec()])?;
/// let ctx = AuditContext::new(ActorRef::user("ada")).correlation_id("onboarding-7");
/// for id in [1, 2] {
///     conn.audited_transaction(&ctx, |conn| {
///         diesel::insert_into(users::table).values((users::id.eq(id), users::name.eq("Grace"))).execute(conn)?;
///         NewAction::new("user.invited").record(conn)
///     })?;
/// }
///
/// let process = threadline::transactions().correlation_id("onboarding-7");
/// let page: Vec<AuditTransaction> = process.clone().limit(1).load(&mut conn)?;
/// assert_eq!((&page[0].actor, page[0].actions[0].name.as_str()), (&Some(ActorRef::user("ada")), "user.invited"));
/// let next: Vec<AuditTransaction> = process.before(page[0].cursor()).load(&mut conn)?;
/// assert!(next.len() == 1 && next[0].occurred_at < page[0].occurred_at);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn transactions() -> Transactions {
    telemetry::query("transactions", None);
    Transactions {
        page: Page::new(None),
    }
}

/// Queries the audit transaction with this id: loads one
/// [`AuditTransaction`](crate::AuditTransaction), or returns
/// [`NotFound`](diesel::result::Error::NotFound). Otherwise as [`transactions`].
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::AuditTransaction;
/// use threadline::prelude::*;
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// let ctx = AuditContext::new(ActorRef::admin("root"));
/// let recorded = NewAction::new("report.exported").context(&ctx).record(&mut conn)?;
/// let transaction: AuditTransaction = threadline::transaction(recorded.transaction_id).get_result(&mut conn)?;
/// assert_eq!(transaction.actions[0].name, "report.exported");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn transaction(id: uuid::Uuid) -> Transactions {
    let mut transaction = transactions();
    transaction.page.transaction(id);
    transaction
}

/// A query for a page of the audit transactions. Created by [`transactions`].
#[derive(Debug, Clone, QueryId)]
#[must_use = "transactions are only read when they are loaded"]
pub struct Transactions {
    page: Page<TransactionCursor>,
}

impl Transactions {
    params! {
        /// Sets filters from text, such as the arguments of a command line or the query of a URL.
        /// The keys are the names of these methods.
        ///
        /// The keys are `action`, `actor`, `before`, `correlation_id`, `since`, `limit`,
        /// `on_behalf_of` and `until`. The values and rules are those of
        /// [`Timeline::params`](crate::Timeline::params).
        ///
        /// # Errors
        ///
        /// [`Error::InvalidFilter`], which names every mistake.
        ///
        /// # Example
        ///
        /// ```
        /// let page = threadline::transactions().params([("actor", "user:123"), ("since", "2026-11-24")])?;
        /// # Ok::<_, threadline::Error>(())
        /// ```
    }

    setters! { page:
        /// Keeps transactions of this actor: who began them, changed something in a nested audited
        /// transaction, or recorded an action in them.
        fn actor(actor: &ActorRef);

        /// Keeps transactions in which someone acted on behalf of this actor, in any of these ways.
        fn on_behalf_of(actor: &ActorRef);

        /// Keeps transactions with this correlation id: their own, or that of a nested change or an
        /// action.
        fn correlation_id(id: impl Into<String>);

        /// Keeps transactions that recorded an action with this name.
        fn action(name: impl Into<String>);

        /// Keeps transactions that began at this time or later.
        fn since(time: DateTime<Utc>);

        /// Keeps transactions that began at this time or earlier.
        fn until(time: DateTime<Utc>);

        /// Starts after this position, with older transactions.
        fn before(cursor: TransactionCursor);

        /// Limits the page to this number of transactions; 50 by default.
        fn limit(transactions: u16);
    }

    fn keys() -> Vec<Key<TransactionCursor>> {
        vec![
            Key::text("action"),
            Key::actor("actor", "actor_ref"),
            Key::before(),
            Key::text("correlation_id"),
            Key::since(),
            Key::limit(),
            Key::actor("on_behalf_of", "on_behalf_of"),
            Key::until(),
        ]
    }
}

impl Query for Transactions {
    type SqlType = SqlType;
}

impl<Conn> RunQueryDsl<Conn> for Transactions {}

impl QueryFragment<Pg> for Transactions {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(COLUMNS);
        out.push_sql(" FROM ");
        self.page.walk("threadline.transactions", out.reborrow())?;
        out.push_sql(" AS \"threadline_transaction\"");
        Ok(())
    }
}
