use diesel::QueryResult;
use diesel::dsl::AsSelect;
use diesel::expression::{Expression, Selectable};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};

use crate::model::Audited;
use crate::query::rows::columns::{self, ChangeSource};
use crate::query::rows::past_rows::{walk_past_row, walk_past_rows};
use crate::query::rows::{TimelineEntry, Version};
use crate::sql::past_table::PastTable;

/// The columns that a [`History`](crate::History) selects, and the `FROM` items they need.
/// Implemented by [`Versions`], [`Story`] and [`Columns`].
pub trait Selection {
    /// The source of the columns in conditions and orders.
    type Source;
    /// The SQL type of the loaded rows.
    type SqlType;

    #[doc(hidden)]
    fn walk_select<'b>(&'b self, table: &'b PastTable, out: AstPass<'_, 'b, Pg>)
    -> QueryResult<()>;

    #[doc(hidden)]
    fn walk_joins<'b>(&'b self, table: &'b PastTable, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

impl<M> Selection for Versions<M>
where
    M: Audited,
    M::SelectExpression: QueryFragment<Pg>,
    Version<M>: Selectable<Pg>,
{
    type Source = ChangeSource<M::Table>;
    type SqlType = AsSelect<Version<M>, Pg>;

    fn walk_select<'b>(
        &'b self,
        table: &'b PastTable,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        self.change.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        walk_past_row(&self.columns, table, out)
    }

    fn walk_joins<'b>(&'b self, table: &'b PastTable, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        walk_past_rows(&self.columns, table, out)
    }
}

impl<M> Selection for Story<M>
where
    M: Audited,
    M::SelectExpression: QueryFragment<Pg>,
    TimelineEntry<M>: Selectable<Pg>,
{
    type Source = ChangeSource<M::Table>;
    type SqlType = AsSelect<TimelineEntry<M>, Pg>;

    fn walk_select<'b>(
        &'b self,
        table: &'b PastTable,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        self.0.change.walk_ast(out.reborrow())?;
        out.push_sql(", \"threadline_table\".*, \"threadline_actions\".*, ");
        walk_past_row(&self.0.columns, table, out)
    }

    fn walk_joins<'b>(
        &'b self,
        table: &'b PastTable,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        out.push_sql(" CROSS JOIN threadline_internal.timeline_table(NULL::");
        out.push_sql(table.table());
        out.push_sql(
            ") AS \"threadline_table\" \
             CROSS JOIN LATERAL threadline_internal.transaction_actions(\"threadline_change\".transaction_id) AS \"threadline_actions\"",
        );
        walk_past_rows(&self.0.columns, table, out)
    }
}

impl<S: Expression + QueryFragment<Pg>> Selection for Columns<S> {
    type Source = ChangeSource<()>;
    type SqlType = S::SqlType;

    fn walk_select<'b>(&'b self, _: &'b PastTable, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    fn walk_joins<'b>(&'b self, _: &'b PastTable, _: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        Ok(())
    }
}

/// The default selection of a [`History`](crate::History): loads [`Version<M>`].
#[allow(missing_debug_implementations)]
pub struct Versions<M: Selectable<Pg>> {
    pub(super) change: columns::All,
    pub(super) columns: M::SelectExpression,
}

/// The selection of a [`History`](crate::History) after
/// [`with_actions`](crate::History::with_actions): loads [`TimelineEntry<M>`].
#[allow(missing_debug_implementations)]
pub struct Story<M: Selectable<Pg>>(pub(super) Versions<M>);

/// The selection of a [`History`](crate::History) after [`select`](diesel::QueryDsl::select):
/// columns of [`change`](crate::change).
#[derive(Debug, Clone, Copy, QueryId)]
pub struct Columns<S>(pub(super) S);

impl<M> QueryId for Versions<M>
where
    M: Selectable<Pg> + 'static,
    M::SelectExpression: QueryId,
{
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = M::SelectExpression::HAS_STATIC_QUERY_ID;
}

impl<M> QueryId for Story<M>
where
    M: Selectable<Pg> + 'static,
    M::SelectExpression: QueryId,
{
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = M::SelectExpression::HAS_STATIC_QUERY_ID;
}
