use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Integer, Nullable, SingleValue, Timestamptz, Uuid};

use super::filter::Filter;
use crate::context::ActorRef;
use crate::query::rows::{ActionCursor, Op, TimelineCursor, TransactionCursor};

/// A page of the filtered result, in the form that the database functions accept. Its setters are
/// those of the queries.
#[derive(Debug, Clone)]
pub(crate) struct Page<C> {
    pub(crate) filter: Filter,
    pub(crate) before: Option<C>,
    pub(crate) limit: i32,
}

pub(crate) type TimelinePage = Page<TimelineCursor>;

impl<C> Page<C> {
    pub(super) fn new(table: Option<String>) -> Self {
        Self {
            filter: Filter::new(table),
            before: None,
            limit: 50,
        }
    }

    pub(super) fn table_named(&mut self, name: impl Into<String>) {
        self.filter.add_table(name.into());
    }

    pub(super) fn actor(&mut self, actor: &ActorRef) {
        self.filter.set_actor("actor_ref", actor);
    }

    pub(super) fn on_behalf_of(&mut self, actor: &ActorRef) {
        self.filter.set_actor("on_behalf_of", actor);
    }

    pub(super) fn correlation_id(&mut self, id: impl Into<String>) {
        self.filter.set("correlation_id", id.into());
    }

    pub(super) fn transaction(&mut self, id: uuid::Uuid) {
        self.filter.set("transaction_id", id.to_string());
    }

    pub(super) fn action(&mut self, name: impl Into<String>) {
        self.filter.set("action", name.into());
    }

    pub(super) fn action_id(&mut self, id: uuid::Uuid) {
        self.filter.set("action_id", id.to_string());
    }

    pub(super) fn name(&mut self, name: impl Into<String>) {
        self.filter.set("name", name.into());
    }

    pub(super) fn op(&mut self, op: Op) {
        self.filter.add("ops", op.as_str());
    }

    pub(super) fn column(&mut self, column: impl Into<String>) {
        self.filter.set("column", column.into());
    }

    pub(super) fn row_key(&mut self, key: impl Into<String>) {
        self.filter.set("row_key", key.into());
    }

    pub(super) fn since(&mut self, time: DateTime<Utc>) {
        self.filter.set_time("since", time);
    }

    pub(super) fn until(&mut self, time: DateTime<Utc>) {
        self.filter.set_time("until", time);
    }

    pub(crate) fn before(&mut self, cursor: C) {
        self.before = Some(cursor);
    }

    pub(super) fn limit(&mut self, rows: u16) {
        self.limit = rows.into();
    }
}

impl<C: Position> Page<C> {
    /// Writes `function(…)`, with the filter, the position and the limit.
    pub(crate) fn walk<'b>(
        &'b self,
        function: &str,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        out.push_sql(function);
        out.push_sql("(");
        C::walk_start(&self.filter, self.before.as_ref(), out.reborrow())?;
        out.push_sql(", ");
        out.push_bind_param::<Integer, _>(&self.limit)?;
        out.push_sql(")");
        Ok(())
    }
}

/// A position that a page starts after.
pub(crate) trait Position: Sized {
    /// Writes the function arguments for the filter and the start position.
    fn walk_start<'b>(
        filter: &'b Filter,
        before: Option<&'b Self>,
        out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()>;
}

impl Position for TimelineCursor {
    fn walk_start<'b>(
        filter: &'b Filter,
        before: Option<&'b Self>,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        filter.walk_with_tables(out.reborrow())?;
        walk_optional::<Timestamptz, _>(before.map(|cursor| &cursor.captured_at), out.reborrow())?;
        walk_optional::<BigInt, _>(before.map(|cursor| &cursor.id), out)
    }
}

macro_rules! id_positions {
    ($($Cursor:ident)+) => {$(
        impl Position for $Cursor {
            fn walk_start<'b>(
                filter: &'b Filter,
                before: Option<&'b Self>,
                mut out: AstPass<'_, 'b, Pg>,
            ) -> QueryResult<()> {
                filter.walk_ast(out.reborrow())?;
                walk_optional::<Uuid, _>(before.map(|cursor| &cursor.0), out)
            }
        }
    )+};
}

id_positions!(ActionCursor TransactionCursor);

/// Writes `, $n`, which is NULL for `None`.
fn walk_optional<'b, ST, T>(value: Option<&'b T>, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()>
where
    T: ToSql<Nullable<ST>, Pg> + 'static,
    Option<T>: ToSql<Nullable<ST>, Pg>,
    ST: SingleValue,
    Pg: HasSqlType<ST>,
{
    out.push_sql(", ");
    match value {
        Some(value) => out.push_bind_param::<Nullable<ST>, _>(value),
        None => out.push_bind_param::<Nullable<ST>, _>(&None::<T>),
    }
}
