use std::net::IpAddr;

use chrono::{DateTime, Utc};
use diesel::deserialize::{self, Queryable};
use diesel::pg::Pg;

use super::diff::Diff;
use super::json::Json;
use super::op::Op;
use crate::context::ActorRef;

/// A recorded change of one row: everything except the row itself.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// The position in the order of changes: of two changes of one row, the later one has the
    /// greater id.
    pub id: i64,
    /// The transaction that made the change.
    pub transaction_id: uuid::Uuid,
    /// What happened to the row.
    pub op: Op,
    /// The clock time of the write, taken after the row was locked.
    pub captured_at: DateTime<Utc>,
    /// The primary key as text, or as a JSON array if it is composite; `None` if the table has no
    /// primary key.
    pub row_key: Option<String>,
    /// Set if an update changed the primary key: on the delete, the new key of the row; on the
    /// insert, its old key.
    pub moved_key: Option<String>,
    /// The columns that changed; all columns for an insert, delete or truncate.
    pub changed_fields: Vec<String>,
    /// What the change did to each column, under the present names of the columns.
    pub diff: Diff,
    /// The actor; `None` if none was set.
    pub actor: Option<ActorRef>,
    /// On whose behalf the actor acted; `None` if it acted for itself.
    pub on_behalf_of: Option<ActorRef>,
    /// Where the work came from: the name of an application, a route or a command.
    pub source: Option<String>,
    /// The id that the transactions of one business process share.
    pub correlation_id: Option<String>,
    /// The id of the request that caused the transaction.
    pub request_id: Option<String>,
    /// The id of the background job that caused the transaction.
    pub job_id: Option<String>,
    /// The address of the client that requested the work.
    pub remote_ip: Option<IpAddr>,
    /// Further details from the application, as JSON.
    pub meta: Option<serde_json::Value>,
    /// The database role that made the write.
    pub database_role: Option<String>,
    /// The `application_name` of the session that made the write.
    pub application_name: Option<String>,
}

type Columns = (
    (
        i64,
        uuid::Uuid,
        Op,
        DateTime<Utc>,
        Option<String>,
        Option<String>,
        Vec<String>,
        Diff,
    ),
    (
        Option<ActorRef>,
        Option<ActorRef>,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
    ),
    (
        Option<Json<serde_json::Value>>,
        Option<String>,
        Option<String>,
    ),
);

impl<ST> Queryable<ST, Pg> for Change
where
    Columns: deserialize::FromStaticSqlRow<ST, Pg>,
{
    type Row = Columns;

    fn build(row: Columns) -> deserialize::Result<Self> {
        let (
            (id, transaction_id, op, captured_at, row_key, moved_key, changed_fields, diff),
            who,
            rest,
        ) = row;
        let (actor, on_behalf_of, source, correlation_id, request_id, job_id, remote_ip) = who;
        let (meta, database_role, application_name) = rest;
        Ok(Self {
            id,
            transaction_id,
            op,
            captured_at,
            row_key,
            moved_key,
            changed_fields,
            diff,
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
        })
    }
}
