use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::Jsonb;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cursor::ActionCursor;
use super::json::Json;
use crate::context::{ActionStatus, ActorRef};

/// A recorded action.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, AsExpression, FromSqlRow)]
#[diesel(sql_type = Jsonb)]
#[non_exhaustive]
pub struct Action {
    /// The id of the action.
    pub id: uuid::Uuid,
    /// The transaction that recorded it.
    pub transaction_id: uuid::Uuid,
    /// What was done, as `category.verb`.
    pub name: String,
    /// When the action was recorded.
    pub occurred_at: DateTime<Utc>,
    /// Who took the action.
    #[serde(rename = "actor_ref")]
    pub actor: ActorRef,
    /// On whose behalf it was taken; `None` if the actor acted for itself.
    pub on_behalf_of: Option<ActorRef>,
    /// How it ended.
    pub status: ActionStatus,
    /// The reason.
    pub reason: Option<String>,
    /// A comment for human readers.
    pub comment: Option<String>,
    /// The id that the actions of one business process share.
    pub correlation_id: Option<String>,
    /// The id of the request that caused it.
    pub request_id: Option<String>,
    /// The id of the background job that caused it.
    pub job_id: Option<String>,
    /// Further details from the application, as JSON.
    pub meta: Option<Value>,
}

impl Action {
    /// Returns the position of this action, for [`Actions::before`](crate::Actions::before).
    pub fn cursor(&self) -> ActionCursor {
        ActionCursor(self.id)
    }
}

impl FromSql<Jsonb, Pg> for Action {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let Json(action) = Json::from_sql(value)?;
        Ok(action)
    }
}
