//! The context as an argument of a handler.

use actix_web::{App, test};
use axum::Router;
use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::routing::get;
use threadline::web::AuditLayer;
use threadline::{ActorRef, AuditContext};
use tower::ServiceExt;

use super::{Capabilities, seen};

async fn actor(ctx: Option<AuditContext>) -> String {
    ctx.map_or("nobody".to_owned(), |ctx| ctx.actor().to_string())
}

async fn ask_axum(app: Router) -> (StatusCode, String) {
    let response = app
        .oneshot(Capabilities::default().for_axum())
        .await
        .unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1000).await.unwrap();
    (status, String::from_utf8(body.into()).unwrap())
}

/// A handler outside of the layer says so, as an error of the server, and does not run.
#[tokio::test]
async fn missing_layer() {
    let message = "this route is not within the audit layer";
    let (status, body) = ask_axum(Router::new().route("/", get(seen))).await;
    assert_eq!((status.as_u16(), body.as_str()), (500, message));

    let app = App::new().route("/", actix_web::web::get().to(seen));
    let app = test::init_service(app).await;
    let response = test::call_service(&app, Capabilities::default().for_actix().to_request()).await;
    assert_eq!(response.status().as_u16(), 500);
    assert_eq!(test::read_body(response).await, message);
}

/// A handler that can do without asks for an `Option`.
#[tokio::test]
async fn optional() {
    let app = Router::new().route("/", get(actor));
    let (_, body) = ask_axum(app.clone()).await;
    assert_eq!(body, "nobody");
    let (_, body) = ask_axum(app.layer(AuditLayer::new(|_| ActorRef::user("7")))).await;
    assert_eq!(body, "user 7");

    let app = App::new().route("/", actix_web::web::get().to(actor));
    let app = test::init_service(app).await;
    let request = Capabilities::default().for_actix().to_request();
    assert_eq!(test::call_and_read_body(&app, request).await, "nobody");
}

/// Of two layers the inner one says who acts.
#[tokio::test]
async fn inner_layer() {
    let app = Router::new()
        .route("/", get(actor))
        .layer(AuditLayer::new(|_| ActorRef::admin("inner")))
        .layer(AuditLayer::new(|_| ActorRef::user("outer")));
    assert_eq!(ask_axum(app).await.1, "admin inner");
}
