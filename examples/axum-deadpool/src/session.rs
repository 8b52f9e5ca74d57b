use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use threadline::ActorRef;
use uuid::Uuid;

use crate::Db;
use crate::error::Error;
use crate::schema::sessions;

/// Who is logged in.
#[derive(Clone, Insertable, Queryable, Selectable)]
pub struct Session {
    pub user_id: String,
    pub is_admin: bool,
    pub acting_for: Option<String>,
}

impl Session {
    pub fn actor(&self) -> ActorRef {
        if self.is_admin {
            ActorRef::admin(&self.user_id)
        } else {
            ActorRef::user(&self.user_id)
        }
    }
}

/// Finds the session of the bearer token, or answers that there is none.
pub async fn authenticate(
    State(db): State<Db>,
    mut request: Request,
    next: Next,
) -> Result<Response, Error> {
    let header = request.headers().get(AUTHORIZATION);
    let token = header
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .ok_or(Error::Unauthorized)?;
    let session = sessions::table
        .find(token)
        .select(Session::as_select())
        .first(&mut db.get().await?)
        .await
        .optional()?;
    let session: Session = session.ok_or(Error::Unauthorized)?;
    request.extensions_mut().insert(session);
    Ok(next.run(request).await)
}

/// The token of a session for an administrator, if nobody had one yet.
///
/// # Errors
///
/// When the database fails.
pub async fn first_session(
    db: &Db,
) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
    let mut conn = db.get().await?;
    let sessions: i64 = sessions::table.count().get_result(&mut conn).await?;
    if sessions > 0 {
        return Ok(None);
    }
    let token = Uuid::new_v4().to_string();
    let session = Session {
        user_id: "1".to_owned(),
        is_admin: true,
        acting_for: None,
    };
    diesel::insert_into(sessions::table)
        .values((session, sessions::token.eq(&token)))
        .execute(&mut conn)
        .await?;
    Ok(Some(token))
}
