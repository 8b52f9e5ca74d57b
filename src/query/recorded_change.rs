use std::net::IpAddr;

use chrono::{DateTime, Utc};
use diesel::deserialize::{self, Queryable};
use diesel::pg::Pg;

use super::diff::Diff;
use super::json::Json;
use crate::base::text_enum;
use crate::context::ActorRef;

text_enum! {
    /// What happened to a row.
    pub enum Op {
        /// It was deleted, or its primary key changed and this is the end of the old one.
        Delete = "delete",
        /// It was inserted, or its primary key changed and this is the beginning of the new one.
        Insert = "insert",
        /// It was there before capture began, and a baseline recorded it as it was then: nothing happened to it.
        Snapshot = "snapshot",
        /// It was removed by `TRUNCATE`.
        Truncate = "truncate",
        /// It was updated.
        Update = "update",
    }
}

/// A recorded change of one row: all there is about it but the row itself.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// Order of the changes: of two changes of one row the later has the greater id.
    pub id: i64,
    /// The transaction that made it.
    pub transaction_id: uuid::Uuid,
    /// What happened to the row.
    pub op: Op,
    /// Clock time of the write, taken after the row was locked.
    pub captured_at: DateTime<Utc>,
    /// The primary key as text, a composite one as a JSON array; `None` for tables without.
    pub row_key: Option<String>,
    /// When an update changed the primary key: where the row went (on the delete) or came from (on the insert).
    pub moved_key: Option<String>,
    /// Columns that changed; all of them on an insert, delete or truncate.
    pub changed_fields: Vec<String>,
    /// What it did to each column, under the names that they have now.
    pub diff: Diff,
    /// Who acted; `None` when nobody said so.
    pub actor: Option<ActorRef>,
    /// For whom the actor acted; `None` when for nobody else.
    pub on_behalf_of: Option<ActorRef>,
    /// Where the work came from.
    pub source: Option<String>,
    /// What ties together the transactions of one business process.
    pub correlation_id: Option<String>,
    /// The request that caused the transaction.
    pub request_id: Option<String>,
    /// The background job that caused the transaction.
    pub job_id: Option<String>,
    /// The address of the client that asked for the work.
    pub remote_ip: Option<IpAddr>,
    /// Whatever else the application said.
    pub meta: Option<serde_json::Value>,
    /// The database role that wrote.
    pub database_role: Option<String>,
    /// `application_name` of the session that wrote.
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
