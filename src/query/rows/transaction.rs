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

/// A database transaction that changed audited rows or recorded an action: who acted and why, as it was said when it began.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AuditTransaction {
    /// Its identity.
    pub id: uuid::Uuid,
    /// When it began.
    pub occurred_at: DateTime<Utc>,
    /// Who acted; `None` when nobody said so.
    #[serde(rename = "actor_ref")]
    pub actor: Option<ActorRef>,
    /// For whom the actor acted; `None` when for nobody else.
    pub on_behalf_of: Option<ActorRef>,
    /// Where the work came from.
    pub source: Option<String>,
    /// What ties together the transactions of one business process.
    pub correlation_id: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// The background job that caused it.
    pub job_id: Option<String>,
    /// The address of the client that asked for the work.
    pub remote_ip: Option<IpAddr>,
    /// Whatever else the application said.
    pub meta: Option<Value>,
    /// The database role that wrote.
    pub database_role: String,
    /// `application_name` of the session that wrote.
    pub application_name: Option<String>,
    /// What was meant: the actions recorded in it, in order.
    pub actions: Vec<Action>,
}

impl AuditTransaction {
    /// Where it stands, to go on from there with [`Transactions::before`](crate::Transactions::before).
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
