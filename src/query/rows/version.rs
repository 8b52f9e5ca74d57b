use std::ops::Deref;

use diesel::deserialize::{self, FromStaticSqlRow, Queryable};
use diesel::expression::{Expression, Selectable};
use diesel::pg::Pg;
use diesel::{NullableExpressionMethods, helper_types};

use super::change::Change;
use super::columns;
use super::mask_named::MaskNamed;
use super::op::Op;

/// A row as a change left it, with everything that is known about the change. The fields of
/// [`Change`] can be read directly: `version.op`, `version.actor`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Version<M> {
    /// Who changed what, and when.
    pub change: Change,
    /// The row after the change; for a delete or truncate, the removed row.
    pub row: M,
    /// The row before the change; `None` for an insert.
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

/// The row that was loaded for the state before a change, if it is credible.
pub(super) fn checked_row_before<M>(
    change: &Change,
    row: Option<M>,
) -> deserialize::Result<Option<M>> {
    // Diesel reads a row with an unexpected NULL as no row. Here that would deny a state that
    // existed.
    let begun = matches!(change.op, Op::Insert | Op::Snapshot);
    if row.is_none() && !begun {
        let id = change.id;
        return Err(format!(
            "the row before change {id} has no value for a column that the model needs: load an Option there, \
             or select change::row_before"
        )
        .into());
    }
    // For a model that has only optional fields, a missing row looks like a row of nulls.
    Ok(row.filter(|_| !begun))
}
