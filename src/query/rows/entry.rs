use std::ops::Deref;

use diesel::deserialize::{self, FromStaticSqlRow, Queryable};
use diesel::expression::{Expression, Selectable};
use diesel::pg::Pg;
use diesel::{NullableExpressionMethods, helper_types};
use serde_json::Value;

use super::action::Action;
use super::change::Change;
use super::columns;
use super::cursor::TimelineCursor;
use super::json::Json;
use super::mask_named::MaskNamed;
use super::version::checked_row_before;
use crate::model::Audited;

/// A recorded change with the row, as JSON or as a model, and the actions of its transaction. The
/// fields of [`Change`] can be read directly on the entry.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TimelineEntry<R = Value> {
    /// Who changed what, and when.
    pub change: Change,
    /// The present schema of the table.
    pub table_schema: String,
    /// The present name of the table.
    pub table_name: String,
    /// The row after the change; for a delete or truncate, the removed row. Its columns have their
    /// present names, and today's redaction applies.
    pub row: R,
    /// The row before the change; `None` for an insert.
    pub row_before: Option<R>,
    /// The actions of the transaction, in order.
    pub actions: Vec<Action>,
}

impl<R> TimelineEntry<R> {
    /// Returns the position of this entry, for [`Timeline::before`](crate::Timeline::before).
    pub fn cursor(&self) -> TimelineCursor {
        TimelineCursor {
            captured_at: self.change.captured_at,
            id: self.change.id,
        }
    }
}

impl<R> Deref for TimelineEntry<R> {
    type Target = Change;

    fn deref(&self) -> &Change {
        &self.change
    }
}

/// The columns of a change that only the timeline returns.
pub(crate) mod about {
    use diesel::expression::{
        AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate,
    };
    use diesel::pg::Pg;
    use diesel::query_builder::{AstPass, QueryFragment, QueryId};
    use diesel::sql_types::{Jsonb, Nullable, Text};

    use crate::query::rows::columns::ChangeSource;
    use crate::query::rows::columns::columns;

    columns! {
        /// The actions of the transaction.
        actions: Jsonb = "\"threadline_change\".actions";
        /// The whole row after the change.
        row: Jsonb = "\"threadline_change\".\"row\"";
        /// The whole row before the change.
        row_before: Nullable<Jsonb> = "\"threadline_change\".row_before";
        /// The schema of the table.
        table_schema: Text = "\"threadline_change\".table_schema";
        /// The name of the table.
        table_name: Text = "\"threadline_change\".table_name";
    }

    pub(in crate::query) type All = (table_schema, table_name, actions);
}

impl Selectable<Pg> for TimelineEntry {
    type SelectExpression = (columns::All, about::All, about::row, about::row_before);

    fn construct_selection() -> Self::SelectExpression {
        <_>::default()
    }
}

impl<M> Selectable<Pg> for TimelineEntry<M>
where
    M: Audited,
    M::SelectExpression: NullableExpressionMethods,
    helper_types::Nullable<M::SelectExpression>: Expression,
{
    type SelectExpression = (
        columns::All,
        about::All,
        M::SelectExpression,
        helper_types::Nullable<M::SelectExpression>,
    );

    fn construct_selection() -> Self::SelectExpression {
        (
            <_>::default(),
            <_>::default(),
            M::construct_selection(),
            M::construct_selection().nullable(),
        )
    }
}

type Row<R> = (Change, (String, String, Json<Vec<Action>>), R, Option<R>);

impl<A, B, C, D> Queryable<(A, B, C, D), Pg> for TimelineEntry
where
    Row<Json<Value>>: FromStaticSqlRow<(A, B, C, D), Pg>,
{
    type Row = Row<Json<Value>>;

    fn build((change, about, row, row_before): Self::Row) -> deserialize::Result<Self> {
        Self::of(change, about, row.0, row_before.map(|Json(row)| row))
    }
}

impl<M, A, B, C, D> Queryable<(A, B, C, D), Pg> for TimelineEntry<M>
where
    M: Audited,
    Row<M>: FromStaticSqlRow<(A, B, C, D), Pg>,
{
    type Row = MaskNamed<Row<M>>;

    fn build(MaskNamed((change, about, row, row_before)): Self::Row) -> deserialize::Result<Self> {
        Self::of(change, about, row, row_before)
    }
}

impl<R> TimelineEntry<R> {
    fn of(
        change: Change,
        about: (String, String, Json<Vec<Action>>),
        row: R,
        row_before: Option<R>,
    ) -> deserialize::Result<Self> {
        let (table_schema, table_name, Json(actions)) = about;
        Ok(Self {
            row_before: checked_row_before(&change, row_before)?,
            change,
            table_schema,
            table_name,
            row,
            actions,
        })
    }
}
