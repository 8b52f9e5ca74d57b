mod actions;
mod dsl;
mod filter;
mod page;
mod params;
mod rows;
mod transactions;

use std::fmt;

use diesel::dsl::AsSelect;
use diesel::expression::Selectable;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::BigInt;
use diesel::{QueryResult, RunQueryDsl};
use serde_json::Value;

use crate::query::rows::TimelineEntry;
use crate::telemetry;
use filter::Filter;

pub use actions::{Actions, action, actions};
pub(crate) use page::TimelinePage;
pub use rows::{JsonRows, ModelRows, Recorded, RecordedRows};
pub use transactions::{Transactions, transaction, transactions};

/// Every recorded change, of all tables, the newest first: a page of [`TimelineEntry`] at a time.
///
/// Each call narrows it down, in any combination, and those of one kind take the place of each other, but for
/// [`table`](Timeline::table) and [`op`](Timeline::op), which add to what there is. The changes of one table as its model are
/// [`AuditedDsl::timeline`](crate::AuditedDsl::timeline).
///
/// ```sql
/// SELECT … FROM threadline.timeline($1, $2, $3, $4, $5)
/// ```
///
/// The order is that of the time of the change, and for those of one time of its id. A page goes on
/// [`before`](Timeline::before) the last entry of the one before it; what is recorded in the meantime is newer, and changes nothing in
/// the pages that follow. (A transaction in flight may commit changes of a little while ago: up to
/// [`settled_at`](fn@crate::settled_at) the pages are final.)
///
/// # Errors
///
/// Loading it fails when a table is not audited. The reader needs what `threadline.grant_reader` gives.
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::prelude::*;
/// use threadline::{Op, TimelineEntry};
///
/// # diesel::table! { users { id -> Integer, name -> Text } }
/// # #[derive(Queryable, Selectable, Audited)]
/// # struct User { id: i32, name: String }
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
/// # threadline::capture::install(&mut conn, &[User::audit_spec()])?;
/// let ada = ActorRef::user("ada");
/// conn.audited_transaction(&AuditContext::new(ada.clone()), |conn| {
///     diesel::insert_into(users::table).values((users::id.eq(7), users::name.eq("Grace"))).execute(conn)?;
///     diesel::update(users::table).set(users::name.eq("Grace Hopper")).execute(conn)?;
///     NewAction::new("user.invited").record(conn)
/// })?;
///
/// let by_ada = threadline::timeline().actor(&ada).table(users::table);
/// let page: Vec<TimelineEntry> = by_ada.clone().limit(1).load(&mut conn)?;
/// assert_eq!((page[0].op, page[0].actions[0].name.as_str()), (Op::Update, "user.invited"));
/// assert_eq!(page[0].diff.to_string(), r#"name: "Grace" → "Grace Hopper""#);
///
/// let next: Vec<TimelineEntry> = by_ada.clone().before(page[0].cursor()).limit(1).load(&mut conn)?;
/// assert_eq!(next[0].op, Op::Insert);
/// let count: i64 = by_ada.count().get_result(&mut conn)?;
/// assert_eq!(count, 2);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn timeline() -> Timeline {
    Timeline::new(None)
}

/// A page of the recorded changes: made by [`timeline`], or by [`AuditedDsl::timeline`](crate::AuditedDsl::timeline) for those of a
/// model.
#[must_use = "a timeline is only read when it is loaded"]
pub struct Timeline<R: Recorded = Value> {
    pub(crate) page: TimelinePage,
    rows: R::Rows,
}

impl<R: Recorded> Timeline<R> {
    /// The changes of a table, or of all.
    pub(crate) fn new(table: Option<String>) -> Self {
        telemetry::query("timeline", table.as_deref());
        Self {
            page: TimelinePage::new(table),
            rows: R::rows(),
        }
    }

    /// How many changes there are, on all pages together: loads one `i64`.
    pub fn count(self) -> TimelineCount {
        TimelineCount {
            filter: self.page.filter,
        }
    }
}

// Derived, they would ask the model to be what only its rows have to be.
impl<R: Recorded> Clone for Timeline<R> {
    fn clone(&self) -> Self {
        Self {
            page: self.page.clone(),
            rows: self.rows.clone(),
        }
    }
}

impl<R: Recorded> fmt::Debug for Timeline<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline")
            .field("page", &self.page)
            .finish_non_exhaustive()
    }
}

/// How many changes a [`Timeline`] has.
#[derive(Debug, Clone, QueryId)]
#[must_use = "a query does nothing until it is run"]
pub struct TimelineCount {
    filter: Filter,
}

impl<R> Query for Timeline<R>
where
    R: Recorded,
    TimelineEntry<R>: Selectable<Pg>,
{
    type SqlType = AsSelect<TimelineEntry<R>, Pg>;
}

impl Query for TimelineCount {
    type SqlType = BigInt;
}

impl<R: Recorded, Conn> RunQueryDsl<Conn> for Timeline<R> {}
impl<Conn> RunQueryDsl<Conn> for TimelineCount {}

/// The SQL is always the same for what is loaded.
impl<R> QueryId for Timeline<R>
where
    R: Recorded + 'static,
    R::Rows: QueryId,
{
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = R::Rows::HAS_STATIC_QUERY_ID;
}

impl<R> QueryFragment<Pg> for Timeline<R>
where
    R: Recorded,
    R::Rows: RecordedRows,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        self.rows.walk_select(out.reborrow())?;
        out.push_sql(" FROM ");
        self.page.walk("threadline.timeline", out.reborrow())?;
        out.push_sql(" AS \"threadline_change\"");
        self.rows.walk_joins(out)
    }
}

impl QueryFragment<Pg> for TimelineCount {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT threadline.timeline_count(");
        self.filter.walk_with_tables(out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}
