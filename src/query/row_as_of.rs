use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromStaticSqlRow, Queryable};
use diesel::expression::{Expression, Selectable};
use diesel::pg::Pg;
use diesel::{NullableExpressionMethods, helper_types};

use super::change;
use super::recorded_change::Change;
use super::row_as_of_query::answer;
use crate::error::Error;

/// What a row was at a time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[must_use]
pub enum RowAsOf<M> {
    /// Nothing is known of that time.
    BeforeHistory {
        /// Since when the table's history is known.
        since: DateTime<Utc>,
    },
    /// It had been there and was gone, by this change: a delete, a truncation, or an update that gave it another key
    /// ([`moved_key`](Change::moved_key)).
    Deleted(Box<Change>),
    /// It was there.
    Found(M),
    /// It was not there, and no recorded change had taken it away. Where retention has removed changes, it may have been
    /// deleted before what is left of the record begins.
    NotCreated,
}

impl<M> RowAsOf<M> {
    /// The row, if it was there. Says nothing about *why* it was not, or whether that is known at all:
    /// [`found`](Self::into_result) does.
    pub fn found(self) -> Option<M> {
        match self {
            Self::Found(row) => Some(row),
            _ => None,
        }
    }

    /// The row.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], which says what is known instead, if the row was not there or nothing is known of that time.
    pub fn into_result(self) -> Result<M, Error> {
        match self {
            Self::Found(row) => Ok(row),
            Self::BeforeHistory { since } => Err(Error::NotFound(format!(
                "the history of its table begins later, at {since:?}"
            ))),
            Self::Deleted(change) => Err(Error::NotFound(format!(
                "it had been deleted at {:?}, by change {} of transaction {}",
                change.captured_at, change.id, change.transaction_id
            ))),
            Self::NotCreated => Err(Error::NotFound("there had been none yet".to_owned())),
        }
    }
}

impl<M> Selectable<Pg> for RowAsOf<M>
where
    M: Selectable<Pg>,
    M::SelectExpression: NullableExpressionMethods,
    helper_types::Nullable<M::SelectExpression>: Expression,
{
    type SelectExpression = (
        (answer::state, answer::since),
        helper_types::Nullable<change::All>,
        helper_types::Nullable<M::SelectExpression>,
    );

    fn construct_selection() -> Self::SelectExpression {
        (
            (answer::state, answer::since),
            change::All::default().nullable(),
            M::construct_selection().nullable(),
        )
    }
}

impl<M, A, B, C> Queryable<(A, B, C), Pg> for RowAsOf<M>
where
    ((String, DateTime<Utc>), Option<Change>, Option<M>): FromStaticSqlRow<(A, B, C), Pg>,
{
    type Row = ((String, DateTime<Utc>), Option<Change>, Option<M>);

    /// The state decides, never whether the model could be loaded: Diesel reads a row with an unexpected NULL as no row.
    fn build(((state, since), change, row): Self::Row) -> deserialize::Result<Self> {
        match (state.as_str(), change, row) {
            ("before_history", ..) => Ok(Self::BeforeHistory { since }),
            ("deleted", Some(change), _) => Ok(Self::Deleted(Box::new(change))),
            ("found", _, Some(row)) => Ok(Self::Found(row)),
            ("found", ..) => Err(
                "the row has no value for a column that the model needs: load an Option there"
                    .into(),
            ),
            ("not_yet", ..) => Ok(Self::NotCreated),
            (state, ..) => Err(format!(
                "threadline.row_as_of said `{state}`, which this version does not know"
            )
            .into()),
        }
    }
}
