use axum::extract::{Path, State};
use axum::{Extension, Json};
use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Serialize;
use serde_json::json;
use threadline::prelude::*;
use threadline::{AuditTransaction, Diff, TimelineEntry};
use uuid::Uuid;

use crate::Db;
use crate::error::Error;
use crate::session::Session;

/// All that is known of a transaction.
#[derive(Serialize)]
pub struct Incident {
    /// Who acted, and with which actions.
    transaction: AuditTransaction,
    /// The newest first.
    changes: Vec<Change>,
}

#[derive(Serialize)]
struct Change {
    table: String,
    key: Option<String>,
    op: String,
    diff: Diff,
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
    NewAction::new("audit.viewed")
        .context(&ctx)
        .meta(json!({"transaction": transaction}))
        .record(&mut *conn)
        .await?;
    Ok(Json(incident))
}

async fn load(conn: &mut AsyncPgConnection, id: Uuid) -> QueryResult<Incident> {
    let transaction = threadline::transaction(id).get_result(conn).await?;
    let changes = threadline::timeline().transaction(id).limit(1000);
    let changes: Vec<TimelineEntry> = changes.load(conn).await?;
    Ok(Incident {
        transaction,
        changes: changes.into_iter().map(Change::from).collect(),
    })
}

impl From<TimelineEntry> for Change {
    fn from(entry: TimelineEntry) -> Self {
        Self {
            table: entry.table_name,
            key: entry.change.row_key,
            op: entry.change.op.to_string(),
            diff: entry.change.diff,
        }
    }
}
