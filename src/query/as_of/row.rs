use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromStaticSqlRow, Queryable};
use diesel::dsl::AsSelect;
use diesel::expression::{Expression, Selectable};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::methods::LimitDsl;
use diesel::{NullableExpressionMethods, helper_types};
use diesel::{QueryDsl, QueryResult, RunQueryDsl};

use crate::error::Error;
use crate::model::Audited;
use crate::query::rows::mask_named::MaskNamed;
use crate::query::rows::{Change, columns};
use crate::sql::past_table::PastTable;
use crate::sql::rendered;
use crate::telemetry;

/// The state of a row at a time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[must_use]
pub enum RowAsOf<M> {
    /// Nothing is known about that time.
    BeforeHistory {
        /// The start of the table's known history.
        since: DateTime<Utc>,
    },
    /// The row had existed and was gone. This change removed it: a delete, a truncate, or an update
    /// that gave the row another key ([`moved_key`](Change::moved_key)).
    Deleted(Box<Change>),
    /// The row existed.
    Found(M),
    /// The row did not exist, and no recorded change had removed it. If retention has purged
    /// changes, the row may have been deleted before the remaining audit log begins.
    NotCreated,
}

impl<M> RowAsOf<M> {
    /// Returns the row if it existed. It does not say *why* the row is missing, or whether that is
    /// known at all; [`into_result`](Self::into_result) does.
    pub fn found(self) -> Option<M> {
        match self {
            Self::Found(row) => Some(row),
            _ => None,
        }
    }

    /// Returns the row, or an error if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], with what is known instead, if the row did not exist or nothing is
    /// known about that time.
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
        helper_types::Nullable<columns::All>,
        helper_types::Nullable<M::SelectExpression>,
    );

    fn construct_selection() -> Self::SelectExpression {
        (
            (answer::state, answer::since),
            columns::All::default().nullable(),
            M::construct_selection().nullable(),
        )
    }
}

impl<M, A, B, C> Queryable<(A, B, C), Pg> for RowAsOf<M>
where
    ((String, DateTime<Utc>), Option<Change>, Option<M>): FromStaticSqlRow<(A, B, C), Pg>,
{
    type Row = MaskNamed<((String, DateTime<Utc>), Option<Change>, Option<M>)>;

    /// The state decides, and not whether the model could be loaded: Diesel reads a row with an
    /// unexpected NULL as no row.
    fn build(MaskNamed(((state, since), change, row)): Self::Row) -> deserialize::Result<Self> {
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

/// The columns that `threadline.row_as_of` returns in addition to those of a change.
pub(super) mod answer {
    use diesel::expression::{
        AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate,
    };
    use diesel::pg::Pg;
    use diesel::query_builder::{AstPass, QueryFragment, QueryId};
    use diesel::sql_types::{Text, Timestamptz};

    use crate::query::rows::columns::ChangeSource;
    use crate::query::rows::columns::columns;

    columns! {
        /// The start of the table's known history.
        since: Timestamptz = "\"threadline_change\".since";
        /// `before_history`, `deleted`, `found` or `not_yet`.
        state: Text = "\"threadline_change\".state";
    }
}

/// A query for one row as of a time; loads one [`RowAsOf`]. Created by
/// [`AuditedDsl::as_of`](crate::AuditedDsl::as_of).
#[allow(missing_debug_implementations)]
#[must_use = "a query does nothing until it is run"]
pub struct RowAsOfQuery<M: Audited, K, At> {
    table: PastTable,
    key: K,
    at: At,
    change: columns::All,
    columns: M::SelectExpression,
}

impl<M: Audited, K, At> RowAsOfQuery<M, K, At> {
    pub(crate) fn new(key: K, at: At) -> Self {
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

/// The query always returns one row, so `first` has nothing to limit.
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
        out.push_sql(&self.table.with_audited());
        out.push_sql("SELECT ");
        (answer::state, answer::since).walk_ast(out.reborrow())?;
        out.push_sql(", ");
        self.change.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        self.table.walk(&self.columns, out.reborrow())?;
        out.push_sql(&format!(" FROM {}, ", self.table.call("row_as_of")));
        self.at.walk_ast(out.reborrow())?;
        self.key.walk_ast(out.reborrow())?;
        out.push_sql(&format!(
            ") AS \"threadline_change\" LEFT JOIN LATERAL {}, \
             \"threadline_change\".image, \"threadline_change\".image_of",
            self.table.call("row_of")
        ));
        self.key.walk_ast(out.reborrow())?;
        out.push_sql(&format!(
            ") AS {} ON \"threadline_change\".state = 'found'",
            self.table.alias()
        ));
        Ok(())
    }
}
