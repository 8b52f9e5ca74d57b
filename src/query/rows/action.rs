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
    /// Its identity.
    pub id: uuid::Uuid,
    /// The transaction it was recorded in.
    pub transaction_id: uuid::Uuid,
    /// What was done, as `category.verb`.
    pub name: String,
    /// When it was recorded.
    pub occurred_at: DateTime<Utc>,
    /// Who did it.
    #[serde(rename = "actor_ref")]
    pub actor: ActorRef,
    /// For whom it was done; `None` when for nobody else.
    pub on_behalf_of: Option<ActorRef>,
    /// How it ended.
    pub status: ActionStatus,
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

impl Action {
    /// Where it stands, to go on from there with [`Actions::before`](crate::Actions::before).
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
