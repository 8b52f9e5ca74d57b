use std::ops::Deref;

use diesel::deserialize::{self, FromStaticSqlRow, Queryable};
use diesel::expression::{Expression, Selectable};
use diesel::pg::Pg;
use diesel::{NullableExpressionMethods, helper_types};
use serde_json::Value;

use super::audited::Audited;
use super::change;
use super::cursor::Cursor;
use super::json::Json;
use super::recorded_action::Action;
use super::recorded_change::Change;
use super::version::row_before;

/// A recorded change: all that is known of it, read directly as the fields of [`Change`], the row as JSON or as a model, and
/// the actions of its transaction.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TimelineEntry<R = Value> {
    /// Who changed what and when.
    pub change: Change,
    /// The schema of the table, as it is called now.
    pub schema_name: String,
    /// The table, as it is called now.
    pub table_name: String,
    /// The row after the change; on a delete or truncate, the row that was removed. Under the names of today, redacted as
    /// it is today.
    pub record: R,
    /// The row before the change; `None` on an insert.
    pub record_before: Option<R>,
    /// What was meant: the actions of the transaction, in order.
    pub actions: Vec<Action>,
}

impl<R> TimelineEntry<R> {
    /// Where it stands, to go on from there with [`Timeline::before`](crate::Timeline::before).
    pub fn cursor(&self) -> Cursor {
        Cursor {
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

/// What only the timeline says of a change.
pub(super) mod about {
    use diesel::expression::{
        AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate,
    };
    use diesel::pg::Pg;
    use diesel::query_builder::{AstPass, QueryFragment, QueryId};
    use diesel::sql_types::{Jsonb, Nullable, Text};

    use crate::query::change::columns;
    use crate::query::history::VersionsOf;

    columns! {
        /// The actions of the transaction.
        actions: Jsonb = "\"threadline_change\".actions";
        /// The whole row after the change.
        record: Jsonb = "\"threadline_change\".record";
        /// The whole row before the change.
        record_before: Nullable<Jsonb> = "\"threadline_change\".record_before";
        /// The schema of the table.
        schema_name: Text = "\"threadline_change\".schema_name";
        /// The table.
        table_name: Text = "\"threadline_change\".table_name";
    }

    pub(in crate::query) type All = (schema_name, table_name, actions);
}

impl Selectable<Pg> for TimelineEntry {
    type SelectExpression = (change::All, about::All, about::record, about::record_before);

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
        change::All,
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

    fn build((change, about, record, record_before): Self::Row) -> deserialize::Result<Self> {
        Self::of(change, about, record.0, record_before.map(|Json(row)| row))
    }
}

impl<M, A, B, C, D> Queryable<(A, B, C, D), Pg> for TimelineEntry<M>
where
    M: Audited,
    Row<M>: FromStaticSqlRow<(A, B, C, D), Pg>,
{
    type Row = Row<M>;

    fn build((change, about, record, record_before): Self::Row) -> deserialize::Result<Self> {
        Self::of(change, about, record, record_before)
    }
}

impl<R> TimelineEntry<R> {
    fn of(
        change: Change,
        about: (String, String, Json<Vec<Action>>),
        record: R,
        record_before: Option<R>,
    ) -> deserialize::Result<Self> {
        let (schema_name, table_name, Json(actions)) = about;
        Ok(Self {
            record_before: row_before(&change, record_before)?,
            change,
            schema_name,
            table_name,
            record,
            actions,
        })
    }
}
