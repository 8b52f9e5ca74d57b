use std::ops::Deref;

use diesel::deserialize::{self, FromStaticSqlRow, Queryable};
use diesel::expression::{Expression, Selectable};
use diesel::pg::Pg;
use diesel::{NullableExpressionMethods, helper_types};

use super::change::Change;
use super::columns;
use super::mask_named::MaskNamed;
use super::op::Op;

/// A row as one change left it, with all that is known about the change: `version.op`, `version.actor` and the
/// other fields of [`Change`] are read directly.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Version<M> {
    /// Who changed what and when.
    pub change: Change,
    /// The row after the change; on a delete or truncate, the row that was removed.
    pub row: M,
    /// The row before the change; `None` on an insert.
    pub row_before: Option<M>,
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
        columns::All,
        M::SelectExpression,
        helper_types::Nullable<M::SelectExpression>,
    );

    fn construct_selection() -> Self::SelectExpression {
        (
            columns::All::default(),
            M::construct_selection(),
            M::construct_selection().nullable(),
        )
    }
}

impl<M, A, B, C> Queryable<(A, B, C), Pg> for Version<M>
where
    (Change, M, Option<M>): FromStaticSqlRow<(A, B, C), Pg>,
{
    type Row = MaskNamed<(Change, M, Option<M>)>;

    fn build(MaskNamed((change, row, row_before)): Self::Row) -> deserialize::Result<Self> {
        Ok(Self {
            row_before: checked_row_before(&change, row_before)?,
            change,
            row,
        })
    }
}

/// What was loaded of the row before a change, if it is to be believed.
pub(super) fn checked_row_before<M>(
    change: &Change,
    row: Option<M>,
) -> deserialize::Result<Option<M>> {
    // Diesel reads a row with an unexpected NULL as no row: here that would deny a state that existed.
    let begun = matches!(change.op, Op::Insert | Op::Snapshot);
    if row.is_none() && !begun {
        let id = change.id;
        return Err(format!(
            "the row before change {id} has no value for a column that the model needs: load an Option there, \
             or select change::row_before"
        )
        .into());
    }
    // To a model of nothing but options, no row looks like a row of nulls.
    Ok(row.filter(|_| !begun))
}
