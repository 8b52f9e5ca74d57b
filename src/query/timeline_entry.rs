use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromStaticSqlRow, Queryable};
use diesel::expression::Selectable;
use diesel::pg::Pg;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change;
use super::recorded_change::Change;
use crate::base::Error;
use crate::context::ActorRef;

/// A recorded change of any table: all that is known of it, read directly as the fields of [`Change`], the row as
/// JSON, and the actions of its transaction.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TimelineEntry {
    /// Who changed what and when.
    pub change: Change,
    /// The schema of the table, as it is called now.
    pub schema_name: String,
    /// The table, as it is called now.
    pub table_name: String,
    /// The row after the change; on a delete or truncate, the row that was removed. Under the names of today, redacted as
    /// it is today.
    pub record: Value,
    /// The row before the change; `None` on an insert.
    pub record_before: Option<Value>,
    /// What was meant: the actions of the transaction, in order.
    pub actions: Vec<Action>,
}

/// A recorded action.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Action {
    /// Its identity.
    pub id: uuid::Uuid,
    /// What was done, as `category.verb`.
    pub name: String,
    /// When it was recorded.
    pub occurred_at: DateTime<Utc>,
    /// Who did it.
    #[serde(rename = "actor_ref")]
    pub actor: ActorRef,
    /// For whom it was done; `None` when for nobody else.
    pub on_behalf_of: Option<ActorRef>,
    /// How it ended: `ok` or `error`.
    pub status: String,
    /// Why it was done.
    pub reason: Option<String>,
    /// A remark for people.
    pub comment: Option<String>,
    /// What ties together the actions of one business process.
    pub correlation_id: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// The background job that caused it.
    pub job_id: Option<String>,
    /// Whatever else the application said.
    pub meta: Option<Value>,
}

/// A position in a timeline: that of one of its entries. Its text is opaque, and can be kept and sent.
///
/// # Example
///
/// ```
/// use threadline::Cursor;
///
/// # fn next(text: &str) -> Result<threadline::Timeline, threadline::Error> {
/// let cursor: Cursor = text.parse()?;      // what a client sent back
/// let page = threadline::timeline().before(cursor);
/// # Ok(page)
/// # }
/// # assert!(next("nonsense").is_err() && next("1700000000000000-42").is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    pub(super) captured_at: DateTime<Utc>,
    pub(super) id: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.captured_at.timestamp_micros(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.split_once('-').and_then(|(time, id)| {
            let captured_at = DateTime::from_timestamp_micros(time.parse().ok()?)?;
            Some(Self {
                captured_at,
                id: id.parse().ok()?,
            })
        });
        parts.ok_or_else(|| Error::InvalidFilter(format!("{text:?} is no cursor of a timeline")))
    }
}

impl TimelineEntry {
    /// Where it stands, to go on from there with [`Timeline::before`](crate::Timeline::before).
    pub fn cursor(&self) -> Cursor {
        Cursor {
            captured_at: self.change.captured_at,
            id: self.change.id,
        }
    }
}

impl Deref for TimelineEntry {
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
}

pub(super) type Columns = (
    change::All,
    (
        about::schema_name,
        about::table_name,
        about::record,
        about::record_before,
        about::actions,
    ),
);

impl Selectable<Pg> for TimelineEntry {
    type SelectExpression = Columns;

    fn construct_selection() -> Self::SelectExpression {
        Columns::default()
    }
}

type About = (String, String, Value, Option<Value>, Value);

impl<A, B> Queryable<(A, B), Pg> for TimelineEntry
where
    (Change, About): FromStaticSqlRow<(A, B), Pg>,
{
    type Row = (Change, About);

    fn build((change, about): Self::Row) -> deserialize::Result<Self> {
        let (schema_name, table_name, record, record_before, actions) = about;
        Ok(Self {
            change,
            schema_name,
            table_name,
            record,
            record_before,
            actions: serde_json::from_value(actions)?,
        })
    }
}
