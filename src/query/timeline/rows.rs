use std::fmt::{self, Debug};

use diesel::QueryResult;
use diesel::expression::Selectable;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use serde_json::Value;

use crate::model::Audited;
use crate::query::rows::columns;
use crate::query::rows::entry::about;
use crate::query::rows::past_rows::{walk_past_row, walk_past_rows};
use crate::sql::past_table::PastTable;
use crate::sql::rendered;

/// The types that the rows of a timeline load as: JSON, or the model of the table.
pub trait Recorded: Sized {
    /// Whether all rows belong to one table.
    #[doc(hidden)]
    const OF_ONE_TABLE: bool;

    #[doc(hidden)]
    type Rows: Clone + Debug;

    #[doc(hidden)]
    fn rows() -> Self::Rows;
}

/// The columns that a timeline selects, and the `FROM` items they need.
pub trait RecordedRows {
    #[doc(hidden)]
    fn walk_select<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;

    #[doc(hidden)]
    fn walk_joins<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;
}

/// Rows as JSON.
#[derive(Debug, Clone, Copy, Default, QueryId)]
pub struct JsonRows {
    change: columns::All,
    about: about::All,
    row: (about::row, about::row_before),
}

impl Recorded for Value {
    const OF_ONE_TABLE: bool = false;
    type Rows = JsonRows;

    fn rows() -> JsonRows {
        JsonRows::default()
    }
}

impl RecordedRows for JsonRows {
    fn walk_select<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.change.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        self.about.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        self.row.walk_ast(out)
    }

    fn walk_joins<'b>(&'b self, _: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        Ok(())
    }
}

/// Rows as a model.
pub struct ModelRows<M: Selectable<Pg>> {
    change: columns::All,
    about: about::All,
    columns: M::SelectExpression,
    table: PastTable,
}

impl<M: Audited> Recorded for M {
    const OF_ONE_TABLE: bool = true;
    type Rows = ModelRows<M>;

    fn rows() -> ModelRows<M> {
        ModelRows {
            change: <_>::default(),
            about: <_>::default(),
            columns: M::construct_selection(),
            table: PastTable::new(rendered(&M::Table::default())),
        }
    }
}

impl<M> RecordedRows for ModelRows<M>
where
    M: Audited,
    M::SelectExpression: QueryFragment<Pg>,
{
    fn walk_select<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.change.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        self.about.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        walk_past_row(&self.columns, &self.table, out)
    }

    /// With joins, the order of the function's rows is not guaranteed.
    fn walk_joins<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        walk_past_rows(&self.columns, &self.table, out.reborrow())?;
        out.push_sql(
            " ORDER BY \"threadline_change\".captured_at DESC, \"threadline_change\".id DESC",
        );
        Ok(())
    }
}

impl<M: Audited> Clone for ModelRows<M> {
    fn clone(&self) -> Self {
        Self {
            columns: M::construct_selection(),
            table: self.table.clone(),
            ..*self
        }
    }
}

impl<M: Selectable<Pg>> Debug for ModelRows<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModelRows").field(&self.table).finish()
    }
}

impl<M> QueryId for ModelRows<M>
where
    M: Selectable<Pg> + 'static,
    M::SelectExpression: QueryId,
{
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = M::SelectExpression::HAS_STATIC_QUERY_ID;
}
