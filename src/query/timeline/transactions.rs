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

/// The audit transactions, the newest first, by when they began: a page of
/// [`AuditTransaction`](crate::AuditTransaction) at a time, each with its actions.
///
/// Each call narrows it down, in any combination, and those of one kind take the place of each other. What changed in one is
/// [`timeline`](crate::timeline())`().`[`transaction`](crate::Timeline::transaction)`(id)`.
///
/// ```sql
/// SELECT … FROM threadline.transactions($1, $2, $3)
/// ```
///
/// A page goes on [`before`](Transactions::before) the last one of the page before it. (A transaction is seen when it has
/// committed, and stands where it began: up to [`settled_at`](fn@crate::settled_at) the pages are final.)
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

/// The audit transaction with this id: loads one [`AuditTransaction`](crate::AuditTransaction), or is
/// [`NotFound`](diesel::result::Error::NotFound); else as [`transactions`].
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

/// A page of the audit transactions: made by [`transactions`].
#[derive(Debug, Clone, QueryId)]
#[must_use = "transactions are only read when they are loaded"]
pub struct Transactions {
    page: Page<TransactionCursor>,
}

impl Transactions {
    params! {
        /// Filters as text, by the names of these methods: from a command line or the query of a URL.
        ///
        /// The keys are `action`, `actor`, `before`, `correlation_id`, `since`, `limit`, `on_behalf_of` and `until`; the values and the rules are those of
        /// [`Timeline::params`](crate::Timeline::params).
        ///
        /// # Errors
        ///
        /// [`Error::InvalidFilter`], which names everything that is wrong.
        ///
        /// # Example
        ///
        /// ```
        /// let page = threadline::transactions().params([("actor", "user:123"), ("since", "2026-11-24")])?;
        /// # Ok::<_, threadline::Error>(())
        /// ```
    }

    setters! { page:
        /// Transactions of this actor, who began them, changed something in them in a nested audited transaction, or recorded
        /// an action in them.
        fn actor(actor: &ActorRef);

        /// Transactions in which somebody acted on behalf of this actor, in the same ways.
        fn on_behalf_of(actor: &ActorRef);

        /// Transactions with this correlation id: their own, or that of a nested change or an action in them.
        fn correlation_id(id: impl Into<String>);

        /// Transactions in which an action of this name was recorded.
        fn action(name: impl Into<String>);

        /// Transactions that began at this time or later.
        fn since(time: DateTime<Utc>);

        /// Transactions that began at this time or earlier.
        fn until(time: DateTime<Utc>);

        /// Transactions that come after this position, and so are older.
        fn before(cursor: TransactionCursor);

        /// At most this many transactions, 50 by default.
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
