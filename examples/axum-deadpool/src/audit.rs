use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{self, Jsonb, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Serialize;
use serde_json::{Value, json};
use threadline::prelude::*;
use threadline::schema::threadline::{audit_actions, audit_transactions};
use uuid::Uuid;

use crate::Db;
use crate::error::Error;
use crate::session::Session;

/// All that is known of a transaction.
#[derive(Serialize)]
pub struct Incident {
    transaction: Transaction,
    actions: Vec<Action>,
    changes: Vec<Change>,
}

#[derive(Queryable, Serialize)]
struct Transaction {
    id: Uuid,
    occurred_at: DateTime<Utc>,
    actor: Option<ActorRef>,
    on_behalf_of: Option<ActorRef>,
    source: Option<String>,
    correlation_id: Option<String>,
    request_id: Option<String>,
    remote_ip: Option<String>,
}

#[derive(Queryable, Selectable, Serialize)]
#[diesel(table_name = audit_actions)]
struct Action {
    name: String,
    status: String,
    reason: Option<String>,
    comment: Option<String>,
}

#[derive(Serialize)]
struct Change {
    table: String,
    key: Option<String>,
    op: String,
    fields: BTreeMap<String, Field>,
}

/// A column before and after; without the one that there was not.
#[derive(Default, Serialize)]
struct Field {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Value>,
}

/// A row of `threadline.changes`.
#[derive(QueryableByName)]
struct Recorded {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Nullable<Text>)]
    row_key: Option<String>,
    #[diesel(sql_type = Text)]
    op: String,
    #[diesel(sql_type = Nullable<Jsonb>)]
    data_after: Option<Value>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    changed_from: Option<Value>,
}

/// Administrators may look, and that they did is recorded: an action outside a transaction.
pub async fn show(
    State(db): State<Db>,
    Extension(session): Extension<Session>,
    ctx: AuditContext,
    Path(transaction): Path<Uuid>,
) -> Result<Json<Incident>, Error> {
    if !session.is_admin {
        return Err(Error::Forbidden);
    }
    let mut conn = db.get().await?;
    let incident = load(&mut conn, transaction).await?;
    AuditAction::new("audit.viewed")
        .context(&ctx)
        .meta(json!({"transaction": transaction}))
        .record(&mut *conn)
        .await?;
    Ok(Json(incident))
}

async fn load(conn: &mut AsyncPgConnection, id: Uuid) -> QueryResult<Incident> {
    let transaction = audit_transactions::table
        .find(id)
        .select((
            audit_transactions::id,
            audit_transactions::occurred_at,
            audit_transactions::actor_ref,
            audit_transactions::on_behalf_of,
            audit_transactions::source,
            audit_transactions::correlation_id,
            audit_transactions::request_id,
            sql::<Nullable<Text>>("host(remote_ip)"),
        ))
        .first(conn)
        .await?;
    let actions = audit_actions::table
        .filter(audit_actions::transaction_id.eq(id))
        .order((audit_actions::occurred_at, audit_actions::id))
        .select(Action::as_select())
        .load(conn)
        .await?;
    let changes: Vec<Recorded> = diesel::sql_query(
        "SELECT table_name, row_key, op, data_after, changed_from
           FROM threadline.changes WHERE transaction_id = $1 ORDER BY id",
    )
    .bind::<sql_types::Uuid, _>(id)
    .load(conn)
    .await?;
    Ok(Incident {
        transaction,
        actions,
        changes: changes.into_iter().map(Change::from).collect(),
    })
}

impl From<Recorded> for Change {
    /// `changed_from` has the old values of what changed, or the whole row that was deleted; `data_after` the whole row
    /// that there is now.
    fn from(recorded: Recorded) -> Self {
        let is_insert = recorded.op == "insert";
        let mut fields: BTreeMap<String, Field> = BTreeMap::new();
        if let Some(Value::Object(old)) = recorded.changed_from {
            for (name, value) in old {
                fields.entry(name).or_default().from = Some(value);
            }
        }
        if let Some(Value::Object(new)) = recorded.data_after {
            for (name, value) in new {
                if is_insert || fields.contains_key(&name) {
                    fields.entry(name).or_default().to = Some(value);
                }
            }
        }
        Self {
            table: recorded.table_name,
            key: recorded.row_key,
            op: recorded.op,
            fields,
        }
    }
}
