//! A small service with an audit trail.
//!
//! | request | does |
//! |---|---|
//! | `POST /members` | invites a member; the answer has the audit transaction |
//! | `PUT /members/{id}/role` | changes a role, for a reason |
//! | `GET /members/{id}?as_of=2026-01-01T00:00:00Z` | shows a member as it is, or as it was |
//! | `GET /audit/{transaction}` | shows an administrator who did what in a transaction, and why |
//!
//! Requests are made by whoever has the session of the bearer token. Run it with `DATABASE_URL`, and see it used in
//! `tests/http.rs`.

mod audit;
mod error;
mod members;
mod schema;
mod session;

use std::error::Error;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use threadline::ActorRef;
use threadline::web::AuditLayer;
use tower_http::request_id::{MakeRequestUuid, SetRequestIdLayer};

pub use session::first_session;

use session::Session;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

pub type Db = Pool<AsyncPgConnection>;

/// A pool of connections to a database that has what the service needs.
///
/// # Errors
///
/// When the database cannot be reached or migrated.
pub async fn connect(database_url: &str) -> Result<Db, Box<dyn Error + Send + Sync>> {
    let manager = AsyncDieselConnectionManager::new(database_url);
    let db = Pool::builder(manager).max_size(5).build()?;
    let mut harness = diesel_async::AsyncMigrationHarness::new(db.get().await?);
    // Threadline first: our own call `threadline.audit_table`.
    harness.run_pending_migrations(threadline::MIGRATIONS)?;
    harness.run_pending_migrations(MIGRATIONS)?;
    Ok(db)
}

/// The service. The last layer comes first: the request gets an id, then a session, then its audit context.
pub fn app(db: Db) -> Router {
    let audit = AuditLayer::new(|parts| parts.extensions.get().map(Session::actor))
        .source("members-api")
        .map_context(|ctx, parts| {
            let session = parts.extensions.get::<Session>();
            match session.and_then(|session| session.acting_for.as_deref()) {
                Some(user) => ctx.on_behalf_of(ActorRef::user(user)),
                None => ctx,
            }
        });
    Router::new()
        .route("/members", post(members::invite))
        .route("/members/{id}", get(members::show))
        .route("/members/{id}/role", put(members::change_role))
        .route("/audit/{transaction}", get(audit::show))
        .layer(audit)
        .layer(from_fn_with_state(db.clone(), session::authenticate))
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(db)
}
