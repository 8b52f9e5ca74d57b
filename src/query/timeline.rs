use chrono::{DateTime, Utc};
use diesel::dsl::AsSelect;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel::{QueryResult, RunQueryDsl};
use serde_json::{Map, Value};

use super::audited::Audited;
use super::recorded_change::Op;
use super::timeline_entry::{Columns, Cursor, TimelineEntry};
use crate::base::{rendered, telemetry};
use crate::context::ActorRef;

/// Every recorded change, of all tables, the newest first: a page of [`TimelineEntry`] at a time.
///
/// Each call narrows it down, in any combination, and those of one kind take the place of each other, but for
/// [`table`](Timeline::table) and [`op`](Timeline::op), which add to what there is.
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
///     AuditAction::new("user.invited").record(conn)
/// })?;
///
/// let by_ada = threadline::timeline().actor(&ada).table_of::<User>();
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
    telemetry::query("timeline", None);
    Timeline {
        columns: Columns::default(),
        filter: Filter {
            json: Value::Object(Map::new()),
            tables: None,
        },
        before_at: None,
        before_id: None,
        limit: 50,
    }
}

/// A page of the recorded changes: made by [`timeline`].
#[derive(Debug, Clone)]
#[must_use = "a timeline is only read when it is loaded"]
pub struct Timeline {
    columns: Columns,
    filter: Filter,
    before_at: Option<DateTime<Utc>>,
    before_id: Option<i64>,
    limit: i32,
}

#[derive(Debug, Clone)]
struct Filter {
    /// As `threadline.timeline_condition` reads it.
    json: Value,
    tables: Option<Vec<String>>,
}

impl Timeline {
    /// Changes of this table, named as in SQL: `users`, `blog.posts`, `"Odd Name"`. Called again, of that one as well.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.filter.tables.get_or_insert_default().push(name.into());
        self
    }

    /// Changes of the table of a model. Called again, of that one as well.
    pub fn table_of<M: Audited>(self) -> Self {
        self.table(rendered(&M::Table::default()))
    }

    /// Changes by this actor.
    pub fn actor(self, actor: &ActorRef) -> Self {
        self.with("actor_ref", actor_json(actor))
    }

    /// Changes for this one, by whoever acted on its behalf.
    pub fn on_behalf_of(self, actor: &ActorRef) -> Self {
        self.with("on_behalf_of", actor_json(actor))
    }

    /// Changes with this correlation id: their own, or that of an action of their transaction.
    pub fn correlation_id(self, id: impl Into<String>) -> Self {
        self.with("correlation_id", id.into().into())
    }

    /// Changes of transactions in which an action of this name was recorded.
    pub fn action(self, name: impl Into<String>) -> Self {
        self.with("action", name.into().into())
    }

    /// Changes of this kind. Called again, of that kind as well.
    pub fn op(mut self, op: Op) -> Self {
        match &mut self.filter.json["ops"] {
            Value::Array(ops) => ops.push(op.as_str().into()),
            ops => *ops = Value::Array(vec![op.as_str().into()]),
        }
        self
    }

    /// Changes of this column, by the name that it had when the change was recorded. An insert, a delete and a truncation are
    /// changes of every column.
    pub fn field(self, column: impl Into<String>) -> Self {
        self.with("field", column.into().into())
    }

    /// Changes of the row with this primary key, as text; of a composite one, as the JSON array of its columns.
    pub fn row_key(self, key: impl Into<String>) -> Self {
        self.with("row_key", key.into().into())
    }

    /// Changes at this time or later.
    pub fn from(self, time: DateTime<Utc>) -> Self {
        self.with("from", time_json(time))
    }

    /// Changes at this time or earlier.
    pub fn to(self, time: DateTime<Utc>) -> Self {
        self.with("to", time_json(time))
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

    /// How many changes there are, on all pages together: loads one `i64`.
    pub fn count(self) -> TimelineCount {
        TimelineCount {
            filter: self.filter,
        }
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.filter.json[key] = value;
        self
    }
}

fn actor_json(actor: &ActorRef) -> Value {
    serde_json::to_value(actor).unwrap_or_default()
}

/// To the microsecond, as PostgreSQL keeps it.
fn time_json(time: DateTime<Utc>) -> Value {
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into()
}

/// How many changes a [`Timeline`] has.
#[derive(Debug, Clone)]
#[must_use = "a query does nothing until it is run"]
pub struct TimelineCount {
    filter: Filter,
}

impl Query for Timeline {
    type SqlType = AsSelect<TimelineEntry, Pg>;
}

impl Query for TimelineCount {
    type SqlType = BigInt;
}

impl<Conn> RunQueryDsl<Conn> for Timeline {}
impl<Conn> RunQueryDsl<Conn> for TimelineCount {}

/// The SQL is always the same.
impl QueryId for Timeline {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryId for TimelineCount {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for Timeline {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        self.columns.walk_ast(out.reborrow())?;
        out.push_sql(" FROM threadline.timeline(");
        self.filter.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.before_at)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.before_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Integer, _>(&self.limit)?;
        out.push_sql(") AS \"threadline_change\"");
        Ok(())
    }
}

impl QueryFragment<Pg> for TimelineCount {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT threadline.timeline_count(");
        self.filter.walk_ast(out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}

/// The names of tables are looked up here, by the `search_path` of whoever asks.
impl QueryFragment<Pg> for Filter {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<Jsonb, _>(&self.json)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Array<Text>>, _>(&self.tables)?;
        out.push_sql("::pg_catalog.regclass[]");
        Ok(())
    }
}
