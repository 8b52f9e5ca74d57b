//! Diesel's query methods on a [`History`].

use std::marker::PhantomData;

use diesel::QueryDsl;
use diesel::RunQueryDsl;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression};
use diesel::query_dsl::methods::{
    FilterDsl, LimitDsl, OffsetDsl, OrderDsl, SelectDsl, ThenOrderDsl,
};
use diesel::sql_types::BoolOrNullableBool;

use super::selection::{Columns, Selection, Story, Versions};
use super::{And, History, NewestFirst, OrderedBy, ValidOn};
use crate::model::Audited;
use crate::query::rows::columns::ChangeSource;

impl<M: Audited, K, S, W, O> QueryDsl for History<M, K, S, W, O> {}

impl<M: Audited, K, S, W, O, Conn> RunQueryDsl<Conn> for History<M, K, S, W, O> {}

impl<M, K, S, W, O, P> FilterDsl<P> for History<M, K, S, W, O>
where
    M: Audited,
    S: Selection,
    P: Expression + AppearsOnTable<S::Source>,
    P::SqlType: BoolOrNullableBool,
{
    type Output = History<M, K, S, And<W, P>, O>;

    fn filter(self, predicate: P) -> Self::Output {
        self.with(|selection, conditions, order| (selection, And(conditions, predicate), order))
    }
}

impl<M, K, S, W, O, E> OrderDsl<E> for History<M, K, S, W, O>
where
    M: Audited,
    S: Selection,
    E: Expression + AppearsOnTable<S::Source>,
{
    type Output = History<M, K, S, W, OrderedBy<E>>;

    fn order(self, order: E) -> Self::Output {
        self.with(|selection, predicate, _| (selection, predicate, OrderedBy(order)))
    }
}

impl<M, K, S, W, E, F> ThenOrderDsl<F> for History<M, K, S, W, OrderedBy<E>>
where
    M: Audited,
    S: Selection,
    F: Expression + AppearsOnTable<S::Source>,
{
    type Output = History<M, K, S, W, OrderedBy<(E, F)>>;

    fn then_order_by(self, order: F) -> Self::Output {
        self.with(|selection, predicate, OrderedBy(first)| {
            (selection, predicate, OrderedBy((first, order)))
        })
    }
}

impl<M, K, S, W, E> ThenOrderDsl<E> for History<M, K, S, W, NewestFirst>
where
    M: Audited,
    S: Selection,
    E: Expression + AppearsOnTable<S::Source>,
{
    type Output = History<M, K, S, W, OrderedBy<E>>;

    fn then_order_by(self, order: E) -> Self::Output {
        OrderDsl::order(self, order)
    }
}

impl<M: Audited, K, S, W, O> LimitDsl for History<M, K, S, W, O> {
    type Output = Self;

    fn limit(self, limit: i64) -> Self {
        Self {
            limit: Some(limit),
            ..self
        }
    }
}

impl<M: Audited, K, S, W, O> OffsetDsl for History<M, K, S, W, O> {
    type Output = Self;

    fn offset(self, offset: i64) -> Self {
        Self {
            offset: Some(offset),
            ..self
        }
    }
}

/// Selects only columns of the change, with conditions on such columns only. The rows are then
/// never built, so this works even for rows that could not be built.
impl<M, K, W, O, E> SelectDsl<E> for History<M, K, Versions<M>, W, O>
where
    M: Audited,
    W: ValidOn<ChangeSource<()>>,
    O: ValidOn<ChangeSource<()>>,
    E: SelectableExpression<ChangeSource<()>>,
{
    type Output = History<M, K, Columns<E>, W, O>;

    fn select(self, selection: E) -> Self::Output {
        self.with(|_, predicate, order| (Columns(selection), predicate, order))
    }
}

impl<M: Audited, K, W, O> History<M, K, Versions<M>, W, O> {
    /// Adds the actions of its transaction to each version: loads
    /// [`TimelineEntry<M>`](crate::TimelineEntry).
    ///
    /// See [`AuditedDsl::story`](crate::AuditedDsl::story).
    pub fn with_actions(self) -> History<M, K, Story<M>, W, O> {
        self.with(|versions, predicate, order| (Story(versions), predicate, order))
    }
}

impl<M: Audited, K, S, W, O> History<M, K, S, W, O> {
    /// The same history with a different selection, condition or order.
    fn with<S2, W2, O2>(
        self,
        change: impl FnOnce(S, W, O) -> (S2, W2, O2),
    ) -> History<M, K, S2, W2, O2> {
        let (selection, predicate, order) = change(self.selection, self.predicate, self.order);
        History {
            table: self.table,
            key: self.key,
            selection,
            predicate,
            order,
            limit: self.limit,
            offset: self.offset,
            model: PhantomData,
        }
    }
}
