//! All the way: from the request to the audit log.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::routing::put;
use diesel::prelude::*;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::json;
use threadline::prelude::*;
use threadline::web::{AuditLayer, TrustedProxies};
use tower::ServiceExt;

use super::Capabilities;
use crate::common::{database, text};
use crate::context::ACCOUNTS;

diesel::table! {
    accounts {
        id -> Int4,
        balance -> Int4,
    }
}

type Connections = Pool<AsyncPgConnection>;

/// A repository, far from the handler: nobody hands it a context.
async fn open_account(pool: Connections, id: i32) -> QueryResult<usize> {
    let mut conn = pool.get().await.expect("a connection");
    let work = async |conn: &mut AsyncPgConnection| {
        diesel::insert_into(accounts::table)
            .values((accounts::id.eq(id), accounts::balance.eq(0)))
            .execute(conn)
            .await
    };
    conn.audited(work).await
}

async fn open(State(pool): State<Connections>, Path(id): Path<i32>) -> StatusCode {
    match open_account(pool, id).await {
        Ok(1) => StatusCode::CREATED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The transaction of a handler is recorded with who asked, by which request, and from where.
#[tokio::test]
async fn by_axum() {
    #[derive(Clone)]
    struct Login(&'static str);

    let (database, mut admin) = database(ACCOUNTS);
    let manager = AsyncDieselConnectionManager::new(database.url());
    let pool = Pool::builder(manager).max_size(1).build().expect("a pool");
    let proxies = TrustedProxies::networks(["10.0.0.0/8".parse().unwrap()]);
    let audit = AuditLayer::new(|parts| {
        let login = parts.extensions.get::<Login>();
        login.map(|login| ActorRef::user(login.0))
    });
    let app = Router::new()
        .route("/accounts/{id}", put(open))
        .with_state(pool)
        .layer(audit.source("bank-api").trusted_proxies(proxies));

    let asked = Capabilities::default()
        .from("10.0.0.1:4711")
        .header("x-request-id", "r-1")
        .header("x-correlation-id", "c-1")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .header("x-forwarded-for", "6.6.6.6, 203.0.113.7");
    let (mut parts, body) = asked.for_axum().into_parts();
    parts.method = axum::http::Method::PUT;
    parts.uri = "/accounts/1".parse().unwrap();
    parts.extensions.insert(Login("ada"));
    let response = app.clone().oneshot(Request::from_parts(parts, body)).await;
    assert_eq!(response.unwrap().status(), StatusCode::CREATED);

    // The next request has the same connection out of the pool, and nothing of the first.
    let request = Request::put("/accounts/2").body(axum::body::Body::empty());
    let response = app.oneshot(request.unwrap()).await;
    assert_eq!(response.unwrap().status(), StatusCode::CREATED);

    let recorded = text(
        &mut admin,
        "SELECT json_agg(t ORDER BY occurred_at) FROM (
           SELECT occurred_at, actor_ref, source, request_id, correlation_id, host(remote_ip) AS remote_ip, meta
             FROM threadline.audit_transactions) AS t",
    );
    let mut recorded: serde_json::Value = serde_json::from_str(&recorded.unwrap()).unwrap();
    for transaction in recorded.as_array_mut().unwrap() {
        transaction.as_object_mut().unwrap().remove("occurred_at");
    }
    assert_eq!(
        recorded,
        json!([
            {
                "actor_ref": {"type": "user", "id": "ada"},
                "source": "bank-api",
                "request_id": "r-1",
                "correlation_id": "c-1",
                "remote_ip": "203.0.113.7",
                "meta": {"trace_id": "0af7651916cd43dd8448eb211c80319c"},
            },
            {
                "actor_ref": {"type": "anonymous"},
                "source": "bank-api",
                "request_id": null,
                "correlation_id": null,
                "remote_ip": null,
                "meta": null,
            },
        ])
    );
}
