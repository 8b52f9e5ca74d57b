use diesel::QueryResult;
use diesel::dsl::AsSelect;
use diesel::expression::{Expression, Selectable};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};

use super::audited::Audited;
use super::change;
use super::history::ChangeSource;
use super::past_table::PastTable;
use super::timeline_entry::TimelineEntry;
use super::version::Version;

/// What a [`History`](crate::History) selects, and what has to stand in its `FROM` for it; implemented by
/// [`Versions`], [`Story`] and [`Columns`].
pub trait Selection {
    /// Where the columns of conditions and orders are found.
    type Source;
    /// What is loaded.
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

/// The columns of a model, after the change and before it.
pub(super) fn walk_past_row<'b>(
    columns: &'b impl QueryFragment<Pg>,
    table: &PastTable,
    mut out: AstPass<'_, 'b, Pg>,
) -> QueryResult<()> {
    table.walk(columns, out.reborrow())?;
    out.push_sql(", \"threadline_before\".*");
    Ok(())
}

/// The select list of the model stands twice, each time over what the table is called there: first the row after the
/// change, then the row before. Whole rows come out of JSON in `FROM`; in a select list it would be done once a column.
pub(super) fn walk_past_rows<'b>(
    columns: &'b impl QueryFragment<Pg>,
    table: &PastTable,
    mut out: AstPass<'_, 'b, Pg>,
) -> QueryResult<()> {
    let rows = |image: &str| {
        let (table, alias) = (table.table(), table.alias());
        format!(
            "pg_catalog.jsonb_populate_record(NULL::{table}, \"threadline_change\".\"{image}\") AS {alias}"
        )
    };
    out.push_sql(" CROSS JOIN LATERAL ");
    out.push_sql(&rows("row"));
    out.push_sql(" CROSS JOIN LATERAL (SELECT ");
    table.walk(columns, out.reborrow())?;
    out.push_sql(" FROM ");
    out.push_sql(&rows("row_before"));
    out.push_sql(") AS \"threadline_before\"");
    Ok(())
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

/// What a [`History`](crate::History) selects unless told otherwise: [`Version<M>`].
#[allow(missing_debug_implementations)]
pub struct Versions<M: Selectable<Pg>> {
    pub(super) change: change::All,
    pub(super) columns: M::SelectExpression,
}

/// What a [`History`](crate::History) selects [`with_actions`](crate::History::with_actions): [`TimelineEntry<M>`].
#[allow(missing_debug_implementations)]
pub struct Story<M: Selectable<Pg>>(pub(super) Versions<M>);

/// What a [`History`](crate::History) selects after [`select`](diesel::QueryDsl::select): columns of [`change`](crate::change).
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
