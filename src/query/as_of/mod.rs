mod dsl;
pub mod functions;
mod row;

use diesel::expression::AsExpression;
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, AstPass, Query, QueryFragment, QueryId, SelectQuery};
use diesel::sql_types::Timestamptz;
use diesel::{QueryResult, Table};

use crate::error::Error;
use crate::sql;
use crate::sql::past_table::{PastTable, audited, function_of};
use crate::sql::relations::{Relation, relations};
use crate::sql::rewrite::{column_prefixes, replace, walk_edited};
use crate::sql::{quoted, try_rendered};
use crate::telemetry;
use functions::after_transaction;

pub use row::{RowAsOf, RowAsOfQuery};

/// Runs a query against the past: every table in it has the rows that it had at `at`.
///
/// `query` can be any `SELECT` that Diesel can build: joins, groups, subqueries, unions, boxed
/// queries. The result has the type of the query, and accepts further `filter`, `order`, `limit`
/// and similar calls. Tables in subqueries and raw SQL fragments are found too. A table that is not
/// audited is refused, unless you pass it to [`live`](AsOf::live).
///
/// `at` is a time (`DateTime<Utc>`, or any other type that Diesel accepts for a `Timestamptz`) or
/// an expression for one, such as [`before_transaction`](fn@crate::before_transaction). A
/// transaction takes effect as a whole, at the time of its last change, so the tables are in a
/// state that the database was in, or could have been in. Transactions still in flight may take
/// effect just before now: see [`settled_at`](fn@crate::settled_at).
///
/// ```sql
/// WITH "threadline_audited" AS (SELECT '{"\"users\"","\"posts\""}'::threadline_internal.audited_name[]),
///      "users" AS NOT MATERIALIZED (SELECT * FROM threadline_internal."as_of users"(NULL::"users", $1)),
///      "posts" AS NOT MATERIALIZED (SELECT * FROM threadline_internal."as_of posts"(NULL::"posts", $2))
/// SELECT … FROM "users" INNER JOIN "posts" ON …  -- the query as it is
/// ```
///
/// The cost depends on how much has changed since `at`. Conditions use the indexes of the live
/// tables; conditions on a key of type `smallint`, `integer`, `bigint` or `uuid` use the indexes of
/// the audit log as well. The guide `docs/time-travel.md` shows plans and measurements, and
/// explains the values of columns that have been altered since.
///
/// # Errors
///
/// Running it fails, with a message that says what to do, in these cases: a table is not audited;
/// the time is before the history of a table begins; row-level security hides rows of a table from
/// the reader; the columns of a table have changed since its capture was last refreshed (this may
/// also be an error of the table's own function); a value cannot be converted to the present type
/// of its column; or the query locks rows. The reader needs `SELECT` on the tables and the rights
/// that `threadline.grant_reader` gives.
///
/// Diesel accepts two constructs that the database then rejects: columns that are only determined
/// by a `GROUP BY` of a primary key, and `TABLESAMPLE`.
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// # diesel::table! { users { id -> Integer, name -> Text } }
/// # diesel::table! { posts { id -> Integer, user_id -> Integer, title -> Text } }
/// # diesel::joinable!(posts -> users (user_id));
/// # diesel::allow_tables_to_appear_in_same_query!(users, posts);
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # for sql in ["CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)",
/// #             "CREATE TABLE posts (id integer PRIMARY KEY, user_id integer NOT NULL, title text NOT NULL)"] {
/// #     diesel::sql_query(sql).execute(&mut conn)?;
/// # }
/// # threadline::capture::install(&mut conn, &[threadline::TableSpec::new(users::table), threadline::TableSpec::new(posts::table)]).unwrap();
/// # diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Ada"))).execute(&mut conn)?;
/// # diesel::insert_into(posts::table).values((posts::id.eq(1), posts::user_id.eq(1), posts::title.eq("Notes"))).execute(&mut conn)?;
/// # let then: chrono::DateTime<chrono::Utc> = diesel::select(diesel::dsl::sql::<diesel::sql_types::Timestamptz>("clock_timestamp()")).get_result(&mut conn)?;
/// # diesel::update(users::table).set(users::name.eq("Ada Lovelace")).execute(&mut conn)?;
/// # diesel::delete(posts::table).execute(&mut conn)?;
/// let query = users::table.inner_join(posts::table).select((users::name, posts::title));
/// let rows: Vec<(String, String)> = threadline::as_of(then, query).filter(users::id.eq(1)).load(&mut conn)?;
/// assert_eq!(rows, [("Ada".to_owned(), "Notes".to_owned())]);
/// # Ok::<_, diesel::result::Error>(())
/// ```
pub fn as_of<At, Q>(at: At, query: Q) -> AsOf<At::Expression, Q::Query>
where
    At: AsExpression<Timestamptz>,
    Q: AsQuery,
    Q::Query: SelectQuery,
{
    telemetry::query("as_of", None);
    AsOf {
        at: at.as_expression(),
        query: query.as_query(),
        live: (),
    }
}

/// Runs a query against the state just after an audit transaction: it includes all changes of the
/// transaction and none made later.
///
/// Short for [`as_of`] with [`after_transaction`](fn@crate::after_transaction). Use
/// [`before_transaction`](fn@crate::before_transaction) for the state just before the transaction.
/// Transactions whose last changes fall into the same microsecond count as one moment.
///
/// # Errors
///
/// As for [`as_of`]. Running it also fails if there is no such transaction.
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::prelude::*;
///
/// # diesel::table! { users { id -> Integer, name -> Text } }
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
/// # threadline::capture::install(&mut conn, &[threadline::TableSpec::new(users::table)]).unwrap();
/// # diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Ada"))).execute(&mut conn)?;
/// let ctx = AuditContext::new(ActorRef::user("7"));
/// let id = conn.audited_transaction(&ctx, |conn| {
///     diesel::update(users::table).set(users::name.eq("Ada Lovelace")).execute(conn)?;
///     conn.audit_transaction_id()
/// })?.expect("something changed");
///
/// let name = || users::table.find(1).select(users::name);
/// let before: String = threadline::as_of(threadline::before_transaction(id), name()).get_result(&mut conn)?;
/// let after: String = threadline::as_of_transaction(id, name()).get_result(&mut conn)?;
/// assert_eq!((before.as_str(), after.as_str()), ("Ada", "Ada Lovelace"));
/// # Ok::<_, diesel::result::Error>(())
/// ```
pub fn as_of_transaction<Q>(
    id: uuid::Uuid,
    query: Q,
) -> AsOf<after_transaction<uuid::Uuid>, Q::Query>
where
    Q: AsQuery,
    Q::Query: SelectQuery,
{
    as_of(after_transaction(id), query)
}

/// A query against the past. Created by [`as_of`] and [`as_of_transaction`].
#[derive(Debug, Clone, Copy)]
#[must_use = "a query does nothing until it is run"]
pub struct AsOf<At, Q, L = ()> {
    pub(super) at: At,
    pub(super) query: Q,
    pub(super) live: L,
}

/// The tables that a query against the past reads in their present state: a nested list of tables,
/// or none.
pub trait LiveTables {
    #[doc(hidden)]
    fn paths() -> Vec<Vec<String>>;
}

impl LiveTables for () {
    fn paths() -> Vec<Vec<String>> {
        Vec::new()
    }
}

impl<L, T> LiveTables for (L, T)
where
    L: LiveTables,
    T: Table + Default + QueryFragment<Pg>,
{
    fn paths() -> Vec<Vec<String>> {
        let mut paths = L::paths();
        paths.push(PastTable::new(sql::rendered(&T::default())).path().to_vec());
        paths
    }
}

impl<At, Q: Query, L> Query for AsOf<At, Q, L> {
    type SqlType = Q::SqlType;
}

/// The SQL depends on the types alone, so this type can identify it in the cache of prepared
/// statements. It needs an id of its own: with the id of `Q`, the cached statement for the present
/// would run.
impl<At: QueryId, Q: QueryId, L: 'static> QueryId for AsOf<At, Q, L> {
    type QueryId = AsOf<At::QueryId, Q::QueryId, L>;
    const HAS_STATIC_QUERY_ID: bool = At::HAS_STATIC_QUERY_ID && Q::HAS_STATIC_QUERY_ID;
}

/// A table that a query reads, and its replacement: `WITH "name" AS (…)`.
struct Past {
    path: Vec<String>,
    /// The quoted table.
    table: String,
    /// The quoted name that the query uses for it: its own name, if it has no schema.
    name: String,
}

impl Past {
    /// The tables of a query, each one once.
    fn of(sql: &str, relations: Vec<Relation>, live: &[Vec<String>]) -> Vec<Self> {
        let mut pasts: Vec<Self> = Vec::new();
        for Relation { path, .. } in relations {
            if live.contains(&path) || pasts.iter().any(|past| past.path == path) {
                continue;
            }
            let table = path
                .iter()
                .map(|name| quoted(name))
                .collect::<Vec<_>>()
                .join(".");
            let name = match path.len() {
                1 => table.clone(),
                _ => name_of_ours(sql, format!("threadline_{}", pasts.len())),
            };
            pasts.push(Self { path, table, name });
        }
        pasts
    }
}

/// A name that does not occur in the query.
fn name_of_ours(sql: &str, name: String) -> String {
    if sql.contains(&name) {
        return name_of_ours(sql, name + "_");
    }
    quoted(&name)
}

impl<At, Q, L> AsOf<At, Q, L>
where
    Q: QueryFragment<Pg>,
    L: LiveTables,
{
    /// Reads the SQL and not the types, because the types do not show subqueries and raw fragments.
    fn pasts(&self) -> QueryResult<Vec<Past>>
    where
        At: QueryFragment<Pg>,
    {
        let sql = try_rendered(&self.query)?;
        if !read_by(&try_rendered(&self.at)?)?.is_empty() {
            // This time precedes every table in the query, and would be a different time for each.
            return Err(not_readable(
                "its time is read from a table: ask for the time first".to_owned(),
            ));
        }
        Ok(Past::of(&sql, read_by(&sql)?, &L::paths()))
    }
}

impl<At, Q, L> QueryFragment<Pg> for AsOf<At, Q, L>
where
    At: QueryFragment<Pg>,
    Q: QueryFragment<Pg>,
    L: LiveTables,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let pasts = self.pasts()?;
        if !pasts.is_empty() {
            let name = name_of_ours(&try_rendered(&self.query)?, "threadline_audited".to_owned());
            out.push_sql("WITH ");
            out.push_sql(&audited(&name, pasts.iter().map(|past| &*past.table)));
        }
        for past in &pasts {
            out.push_sql(", ");
            out.push_sql(&past.name);
            // If it were materialized, it would hide the indexes from a query that names the table
            // twice.
            out.push_sql(" AS NOT MATERIALIZED (SELECT * FROM ");
            out.push_sql(&function_of("as_of", &past.path));
            out.push_sql("(NULL::");
            out.push_sql(&past.table);
            out.push_sql(", ");
            self.at.walk_ast(out.reborrow())?;
            out.push_sql("))");
        }
        if !pasts.is_empty() {
            out.push_sql(" ");
        }
        if pasts.iter().all(|past| past.name == past.table) {
            return self.query.walk_ast(out);
        }
        walk_edited(&self.query, out, &|sql| renamed(sql, &pasts))
    }
}

fn read_by(sql: &str) -> QueryResult<Vec<Relation>> {
    relations(sql).map_err(not_readable)
}

fn not_readable(reason: String) -> diesel::result::Error {
    Error::NotReadable(reason).into()
}

/// The query with new names for the tables that have a schema.
fn renamed(sql: &str, pasts: &[Past]) -> String {
    let mut edits = Vec::new();
    // This SQL was parsed before without an error.
    let relations = relations(sql).unwrap_or_default();
    for past in pasts.iter().filter(|past| past.name != past.table) {
        let read = relations
            .iter()
            .filter(|relation| relation.path == past.path);
        edits.extend(read.map(|relation| (relation.range.clone(), past.name.as_str())));
        let columns = column_prefixes(sql, &past.path).into_iter();
        edits.extend(columns.map(|range| (range, past.name.as_str())));
    }
    replace(sql, edits)
}
