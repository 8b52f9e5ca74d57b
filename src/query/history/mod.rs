mod dsl;
mod selection;

use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::expression::AppearsOnTable;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable};

use crate::model::Audited;
use crate::sql::past_table::PastTable;
use crate::sql::rendered;
use crate::telemetry;

pub use selection::{Columns, Selection, Story, Versions};

/// A query for the versions of one row or of all rows of a table. Created by
/// [`AuditedDsl::history`](crate::AuditedDsl::history) and
/// [`AuditedDsl::history_all`](crate::AuditedDsl::history_all).
///
/// It works like Diesel's own queries: use `filter`, `order`, `then_order_by`, `limit`, `offset`
/// and `select` of [`QueryDsl`](diesel::QueryDsl), and `load`, `first`, `get_result` and the other
/// methods of either `RunQueryDsl`.
#[allow(missing_debug_implementations)]
#[must_use = "a history is only read when it is loaded"]
pub struct History<M: Audited, K, S = Versions<M>, W = (), O = NewestFirst> {
    pub(super) table: PastTable,
    pub(super) key: K,
    pub(super) selection: S,
    pub(super) predicate: W,
    pub(super) order: O,
    pub(super) limit: Option<i64>,
    pub(super) offset: Option<i64>,
    pub(super) model: PhantomData<fn() -> M>,
}

/// Two conditions, combined with `AND`.
#[derive(Debug, Clone, Copy, QueryId)]
pub struct And<W, P>(pub(super) W, pub(super) P);

/// The default order of a [`History`].
#[derive(Debug, Clone, Copy, QueryId)]
pub struct NewestFirst;

/// An order chosen by the caller.
#[derive(Debug, Clone, Copy, QueryId)]
pub struct OrderedBy<E>(pub(super) E);

/// Conditions and orders whose columns are available in `QS`.
pub trait ValidOn<QS> {}

impl<QS> ValidOn<QS> for () {}
impl<QS> ValidOn<QS> for NewestFirst {}
impl<QS, E: AppearsOnTable<QS>> ValidOn<QS> for OrderedBy<E> {}
impl<QS, W: ValidOn<QS>, P: AppearsOnTable<QS>> ValidOn<QS> for And<W, P> {}

impl<M: Audited, K> History<M, K> {
    pub(crate) fn new(key: K) -> Self {
        let table = rendered(&M::Table::default());
        telemetry::query("history", Some(&table));
        Self {
            table: PastTable::new(table),
            key,
            selection: Versions {
                change: <_>::default(),
                columns: M::construct_selection(),
            },
            predicate: (),
            order: NewestFirst,
            limit: None,
            offset: None,
            model: PhantomData,
        }
    }
}

impl<M: Audited, K, S: Selection, W, O> Query for History<M, K, S, W, O> {
    type SqlType = S::SqlType;
}

/// The SQL depends on the types alone (a missing limit is `LIMIT NULL`), so they can identify it in
/// the cache of prepared statements.
impl<M, K, S, W, O> QueryId for History<M, K, S, W, O>
where
    M: Audited + 'static,
    K: QueryId,
    S: QueryId,
    W: QueryId,
    O: QueryId,
{
    type QueryId = History<M, K::QueryId, S::QueryId, W::QueryId, O::QueryId>;
    const HAS_STATIC_QUERY_ID: bool = K::HAS_STATIC_QUERY_ID
        && S::HAS_STATIC_QUERY_ID
        && W::HAS_STATIC_QUERY_ID
        && O::HAS_STATIC_QUERY_ID;
}

/// A condition of a history.
pub trait Predicate {
    #[doc(hidden)]
    fn walk_predicate<'b>(
        &'b self,
        table: &'b PastTable,
        out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()>;
}

impl Predicate for () {
    fn walk_predicate<'b>(
        &'b self,
        _: &'b PastTable,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        out.push_sql("TRUE");
        Ok(())
    }
}

impl<W: Predicate, P: QueryFragment<Pg>> Predicate for And<W, P> {
    fn walk_predicate<'b>(
        &'b self,
        table: &'b PastTable,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        self.0.walk_predicate(table, out.reborrow())?;
        out.push_sql(" AND (");
        table.walk(&self.1, out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}

/// An order of a history.
pub trait Order {
    #[doc(hidden)]
    fn walk_order<'b>(&'b self, table: &'b PastTable, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

impl Order for NewestFirst {
    fn walk_order<'b>(&'b self, _: &'b PastTable, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("\"threadline_change\".id DESC");
        Ok(())
    }
}

impl<E: QueryFragment<Pg>> Order for OrderedBy<E> {
    fn walk_order<'b>(&'b self, table: &'b PastTable, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        table.walk(&self.0, out)
    }
}

impl<M, K, S, W, O> QueryFragment<Pg> for History<M, K, S, W, O>
where
    M: Audited,
    K: QueryFragment<Pg>,
    S: Selection,
    W: Predicate,
    O: Order,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(&self.table.with_audited());
        out.push_sql("SELECT ");
        self.selection.walk_select(&self.table, out.reborrow())?;
        out.push_sql(" FROM ");
        out.push_sql(&self.table.call("versions"));
        self.key.walk_ast(out.reborrow())?;
        out.push_sql(") AS \"threadline_change\"");
        self.selection.walk_joins(&self.table, out.reborrow())?;
        out.push_sql(" WHERE ");
        self.predicate.walk_predicate(&self.table, out.reborrow())?;
        out.push_sql(" ORDER BY ");
        self.order.walk_order(&self.table, out.reborrow())?;
        out.push_sql(" LIMIT ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.limit)?;
        out.push_sql(" OFFSET ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.offset)
    }
}
