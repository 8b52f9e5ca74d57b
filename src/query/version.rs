use std::ops::Deref;

use diesel::deserialize::{self, FromStaticSqlRow, Queryable};
use diesel::expression::{Expression, Selectable};
use diesel::pg::Pg;
use diesel::{NullableExpressionMethods, helper_types};

use super::change;
use super::recorded_change::{Change, Op};

/// A row as one change left it, with all that is known about the change: `version.op`, `version.actor` and the
/// other fields of [`Change`] are read directly.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Version<M> {
    /// Who changed what and when.
    pub change: Change,
    /// The row after the change; on a delete or truncate, the row that was removed.
    pub record: M,
    /// The row before the change; `None` on an insert.
    pub record_before: Option<M>,
}

impl<M> Deref for Version<M> {
    type Target = Change;

    fn deref(&self) -> &Change {
        &self.change
    }
}

impl<M> Selectable<Pg> for Version<M>
where
    M: Selectable<Pg>,
    M::SelectExpression: NullableExpressionMethods,
    helper_types::Nullable<M::SelectExpression>: Expression,
{
    type SelectExpression = (
        change::All,
        M::SelectExpression,
        helper_types::Nullable<M::SelectExpression>,
    );

    fn construct_selection() -> Self::SelectExpression {
        (
            change::All::default(),
            M::construct_selection(),
            M::construct_selection().nullable(),
        )
    }
}

impl<M, A, B, C> Queryable<(A, B, C), Pg> for Version<M>
where
    (Change, M, Option<M>): FromStaticSqlRow<(A, B, C), Pg>,
{
    type Row = (Change, M, Option<M>);

    fn build((change, record, record_before): Self::Row) -> deserialize::Result<Self> {
        Ok(Self {
            record_before: row_before(&change, record_before)?,
            change,
            record,
        })
    }
}

/// What was loaded of the row before a change, if it is to be believed.
pub(super) fn row_before<M>(change: &Change, record: Option<M>) -> deserialize::Result<Option<M>> {
    // Diesel reads a row with an unexpected NULL as no row: here that would deny a state that existed.
    let begun = matches!(change.op, Op::Insert | Op::Snapshot);
    if record.is_none() && !begun {
        let id = change.id;
        return Err(format!(
            "the row before change {id} has no value for a column that the model needs: load an Option there, \
             or select change::record_before"
        )
        .into());
    }
    // To a model of nothing but options, no row looks like a row of nulls.
    Ok(record.filter(|_| !begun))
}
