use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow, Queryable};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;

use super::diff::Diff;
use super::json::Json;
use crate::context::ActorRef;

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
#[non_exhaustive]
pub enum Op {
    /// It was deleted, or its primary key changed and this is the end of the old one.
    Delete,
    /// It was inserted, or its primary key changed and this is the beginning of the new one.
    Insert,
    /// It was there before capture began, and a baseline recorded it as it was then: nothing happened to it.
    Snapshot,
    /// It was removed by `TRUNCATE`.
    Truncate,
    /// It was updated.
    Update,
}

impl Op {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Insert => "insert",
            Self::Snapshot => "snapshot",
            Self::Truncate => "truncate",
            Self::Update => "update",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [
            Self::Delete,
            Self::Insert,
            Self::Snapshot,
            Self::Truncate,
            Self::Update,
        ]
        .into_iter()
        .find(|op| op.as_str() == word)
        .ok_or_else(|| format!("`{word}` is not delete, insert, snapshot, truncate or update"))
    }
}

impl FromSql<Text, Pg> for Op {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(<String as FromSql<Text, Pg>>::from_sql(value)?.parse::<Self>()?)
    }
}

impl ToSql<Text, Pg> for Op {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <str as ToSql<Text, Pg>>::to_sql(self.as_str(), out)
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
