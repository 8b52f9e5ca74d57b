use diesel::dsl::AsSelect;
use diesel::expression::Selectable;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::methods::LimitDsl;
use diesel::{QueryDsl, QueryResult, RunQueryDsl};

use super::change;
use super::row_as_of::RowAsOf;
use crate::model::Audited;
use crate::sql::past_table::PastTable;
use crate::sql::rendered;
use crate::telemetry;

/// What `threadline.row_as_of` says beside the columns of a change.
pub(super) mod answer {
    use diesel::expression::{
        AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate,
    };
    use diesel::pg::Pg;
    use diesel::query_builder::{AstPass, QueryFragment, QueryId};
    use diesel::sql_types::{Text, Timestamptz};

    use crate::query::change::columns;
    use crate::query::history::ChangeSource;

    columns! {
        /// Since when the table's history is known.
        since: Timestamptz = "\"threadline_change\".since";
        /// `before_history`, `deleted`, `found` or `not_yet`.
        state: Text = "\"threadline_change\".state";
    }
}

/// One row as of a time: made by [`AuditedDsl::as_of`](crate::AuditedDsl::as_of), loads one [`RowAsOf`].
#[allow(missing_debug_implementations)]
#[must_use = "a query does nothing until it is run"]
pub struct RowAsOfQuery<M: Audited, K, At> {
    table: PastTable,
    key: K,
    at: At,
    change: change::All,
    columns: M::SelectExpression,
}

impl<M: Audited, K, At> RowAsOfQuery<M, K, At> {
    pub(super) fn new(key: K, at: At) -> Self {
        let table = rendered(&M::Table::default());
        telemetry::query("row_as_of", Some(&table));
        Self {
            table: PastTable::new(table),
            key,
            at,
            change: <_>::default(),
            columns: M::construct_selection(),
        }
    }
}

impl<M: Audited, K, At> Query for RowAsOfQuery<M, K, At>
where
    RowAsOf<M>: Selectable<Pg>,
{
    type SqlType = AsSelect<RowAsOf<M>, Pg>;
}

impl<M, K, At> QueryId for RowAsOfQuery<M, K, At>
where
    M: Audited + 'static,
    K: QueryId,
    At: QueryId,
{
    type QueryId = RowAsOfQuery<M, K::QueryId, At::QueryId>;
    const HAS_STATIC_QUERY_ID: bool = K::HAS_STATIC_QUERY_ID && At::HAS_STATIC_QUERY_ID;
}

impl<M: Audited, K, At> QueryDsl for RowAsOfQuery<M, K, At> {}

impl<M: Audited, K, At, Conn> RunQueryDsl<Conn> for RowAsOfQuery<M, K, At> {}

/// There is always one row, so `first` has nothing to limit.
impl<M: Audited, K, At> LimitDsl for RowAsOfQuery<M, K, At> {
    type Output = Self;

    fn limit(self, _: i64) -> Self {
        self
    }
}

impl<M, K, At> QueryFragment<Pg> for RowAsOfQuery<M, K, At>
where
    M: Audited,
    M::SelectExpression: QueryFragment<Pg>,
    K: QueryFragment<Pg>,
    At: QueryFragment<Pg>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let (table, alias) = (self.table.table(), self.table.alias());
        out.push_sql("SELECT ");
        (answer::state, answer::since).walk_ast(out.reborrow())?;
        out.push_sql(", ");
        self.change.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        self.table.walk(&self.columns, out.reborrow())?;
        out.push_sql(&format!(" FROM threadline.row_as_of(NULL::{table}, "));
        self.at.walk_ast(out.reborrow())?;
        self.key.walk_ast(out.reborrow())?;
        out.push_sql(&format!(
            ") AS \"threadline_change\" LEFT JOIN LATERAL threadline.row_of(NULL::{table}, \
             \"threadline_change\".image, \"threadline_change\".image_of"
        ));
        self.key.walk_ast(out.reborrow())?;
        out.push_sql(&format!(
            ") AS {alias} ON \"threadline_change\".state = 'found'"
        ));
        Ok(())
    }
}
