use std::net::IpAddr;

use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromStaticSqlRow, Queryable};
use diesel::pg::Pg;
use diesel::sql_types::{Jsonb, Nullable, Text, Timestamptz, Uuid};
use serde::Serialize;
use serde_json::Value;

use super::action::Action;
use super::cursor::TransactionCursor;
use super::json::Json;
use crate::context::ActorRef;

/// A database transaction that changed audited rows or recorded an action, with the context it had
/// when it began.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AuditTransaction {
    /// The id of the transaction.
    pub id: uuid::Uuid,
    /// When the transaction began.
    pub occurred_at: DateTime<Utc>,
    /// The actor; `None` if none was set.
    #[serde(rename = "actor_ref")]
    pub actor: Option<ActorRef>,
    /// On whose behalf the actor acted; `None` if it acted for itself.
    pub on_behalf_of: Option<ActorRef>,
    /// Where the work came from: the name of an application, a route or a command.
    pub source: Option<String>,
    /// The id that the transactions of one business process share.
    pub correlation_id: Option<String>,
    /// The id of the request that caused it.
    pub request_id: Option<String>,
    /// The id of the background job that caused it.
    pub job_id: Option<String>,
    /// The address of the client that requested the work.
    pub remote_ip: Option<IpAddr>,
    /// Further details from the application, as JSON.
    pub meta: Option<Value>,
    /// The database role that made the writes.
    pub database_role: String,
    /// The `application_name` of the session that made the writes.
    pub application_name: Option<String>,
    /// The actions recorded in the transaction, in order.
    pub actions: Vec<Action>,
}

impl AuditTransaction {
    /// Returns the position of this transaction, for
    /// [`Transactions::before`](crate::Transactions::before).
    pub fn cursor(&self) -> TransactionCursor {
        TransactionCursor(self.id)
    }
}

pub(crate) const COLUMNS: &str = "id, occurred_at, actor_ref, on_behalf_of, source, correlation_id, request_id, job_id, \
    pg_catalog.host(remote_ip), meta, database_role, application_name, actions";

type OptionalText = Nullable<Text>;

pub(crate) type SqlType = (
    Uuid,
    Timestamptz,
    Nullable<Jsonb>,
    Nullable<Jsonb>,
    OptionalText,
    OptionalText,
    OptionalText,
    OptionalText,
    OptionalText,
    Nullable<Jsonb>,
    Text,
    OptionalText,
    Jsonb,
);

type Row = (
    uuid::Uuid,
    DateTime<Utc>,
    Option<ActorRef>,
    Option<ActorRef>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<Json<Value>>,
    String,
    Option<String>,
    Json<Vec<Action>>,
);

impl<ST> Queryable<ST, Pg> for AuditTransaction
where
    Row: FromStaticSqlRow<ST, Pg>,
{
    type Row = Row;

    fn build(row: Row) -> deserialize::Result<Self> {
        let (id, occurred_at, actor, on_behalf_of, source, correlation_id, request_id, ..) = row;
        let (.., job_id, remote_ip, meta, database_role, application_name, Json(actions)) = row;
        Ok(Self {
            id,
            occurred_at,
            actor,
            on_behalf_of,
            source,
            correlation_id,
            request_id,
            job_id,
            remote_ip: remote_ip.map(|text| text.parse()).transpose()?,
            meta: meta.map(|Json(meta)| meta),
            database_role,
            application_name,
            actions,
        })
    }
}
