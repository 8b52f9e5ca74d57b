use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use threadline::prelude::*;
use uuid::Uuid;

use crate::Db;
use crate::error::Error;
use crate::schema::members;

#[derive(Queryable, Selectable, Identifiable, Audited, Serialize)]
#[audited(mask(email))]
pub struct Member {
    id: i64,
    name: String,
    email: String,
    role: String,
}

#[derive(Insertable, Deserialize)]
#[diesel(table_name = members)]
pub struct NewMember {
    name: String,
    email: String,
}

/// What a change is answered with.
#[derive(Serialize)]
pub struct Changed {
    audit_transaction: Uuid,
    member: Member,
}

pub async fn invite(
    State(db): State<Db>,
    ctx: AuditContext,
    Json(new): Json<NewMember>,
) -> Result<(StatusCode, Json<Changed>), Error> {
    let mut conn = db.get().await?;
    let changed = conn.audited_transaction(&ctx, async |conn| {
        let member = diesel::insert_into(members::table)
            .values(new)
            .returning(Member::as_returning())
            .get_result(conn)
            .await?;
        let action = NewAction::new("member.invited").record(conn).await?;
        Ok::<_, Error>(Changed {
            audit_transaction: action.transaction_id,
            member,
        })
    });
    Ok((StatusCode::CREATED, Json(changed.await?)))
}

#[derive(Deserialize)]
pub struct NewRole {
    role: String,
    reason: Option<String>,
}

pub async fn change_role(
    State(db): State<Db>,
    ctx: AuditContext,
    Path(id): Path<i64>,
    Json(new): Json<NewRole>,
) -> Result<Json<Changed>, Error> {
    let mut conn = db.get().await?;
    let changed = conn.audited_transaction(&ctx, async |conn| {
        let member = diesel::update(members::table.find(id))
            .set(members::role.eq(new.role))
            .returning(Member::as_returning())
            .get_result(conn)
            .await?;
        // Without a reason this fails, by the rule in the migration, and the role stays what it was.
        let mut action = NewAction::new("member.role_changed");
        if let Some(reason) = new.reason {
            action = action.reason(reason);
        }
        let action = action.record(conn).await?;
        Ok::<_, Error>(Changed {
            audit_transaction: action.transaction_id,
            member,
        })
    });
    Ok(Json(changed.await?))
}

#[derive(Deserialize)]
pub struct Moment {
    as_of: Option<DateTime<Utc>>,
}

pub async fn show(
    State(db): State<Db>,
    Path(id): Path<i64>,
    Query(moment): Query<Moment>,
) -> Result<Json<Member>, Error> {
    let mut conn = db.get().await?;
    let member = if let Some(then) = moment.as_of {
        Member::as_of(id, then)
            .get_result(&mut conn)
            .await?
            .into_result()?
    } else {
        let member = members::table.find(id).select(Member::as_select());
        member.first(&mut conn).await?
    };
    Ok(Json(member))
}
