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

/// Queries every recorded change of all tables, newest first: loads a page of [`TimelineEntry`].
///
/// Filters combine with `AND`. Calling a filter again replaces its value, except that
/// [`table`](Timeline::table) and [`op`](Timeline::op) add another one. To load the changes of one
/// table as its model, use [`AuditedDsl::timeline`](crate::AuditedDsl::timeline).
///
/// ```sql
/// SELECT … FROM threadline.timeline($1, $2, $3, $4, $5)
/// ```
///
/// The entries are ordered by the time of the change, then by its id. To get the next page, pass
/// the last entry's position to [`before`](Timeline::before). Changes recorded in the meantime are
/// newer and do not affect later pages. (A transaction in flight may still commit changes with
/// slightly earlier times. The pages are final up to [`settled_at`](fn@crate::settled_at).)
///
/// # Errors
///
/// Loading fails if a table is not audited. The reader needs the rights that
/// `threadline.grant_reader` gives.
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

/// A query for a page of the recorded changes. Created by [`timeline`], or by
/// [`AuditedDsl::timeline`](crate::AuditedDsl::timeline) for the changes of a model.
#[must_use = "a timeline is only read when it is loaded"]
pub struct Timeline<R: Recorded = Value> {
    pub(crate) page: TimelinePage,
    rows: R::Rows,
}

impl<R: Recorded> Timeline<R> {
    /// A timeline of one table, or of all tables.
    pub(crate) fn new(table: Option<String>) -> Self {
        telemetry::query("timeline", table.as_deref());
        Self {
            page: TimelinePage::new(table),
            rows: R::rows(),
        }
    }

    /// Counts the changes on all pages together: loads one `i64`.
    pub fn count(self) -> TimelineCount {
        TimelineCount {
            filter: self.page.filter,
        }
    }
}

// Not derived, because derives would put their bounds on the model instead of on its rows.
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

/// A query for the number of changes in a [`Timeline`].
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

/// The SQL is always the same for a given type of rows.
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
