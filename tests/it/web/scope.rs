//! Which code is in the scope of a request's context.

use std::sync::Arc;

use actix_web::{App, test};
use axum::Router;
use axum::http::Request;
use axum::response::Response;
use axum::routing::get;
use threadline::web::{AuditLayer, AuditMiddleware};
use threadline::{ActorRef, AuditContext};
use tokio::sync::Barrier;
use tower::ServiceExt;

/// The id in the query of `/?id`, as the application's own authentication would know it.
fn actor(query: Option<&str>) -> Option<ActorRef> {
    query.map(ActorRef::user)
}

fn current() -> String {
    AuditContext::current().map_or("nobody".to_owned(), |ctx| ctx.actor().to_string())
}

/// Who acts, before and after all requests have met here.
async fn meet(barrier: Arc<Barrier>) -> String {
    let before = current();
    barrier.wait().await;
    tokio::task::yield_now().await;
    barrier.wait().await;
    format!("{before}, {}", current())
}

fn app(barrier: &Arc<Barrier>) -> Router {
    let barrier = Arc::clone(barrier);
    Router::new()
        .route("/", get(async move || meet(barrier).await))
        .layer(AuditLayer::new(|parts| actor(parts.uri.query())))
}

async fn body(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), 1000).await;
    String::from_utf8(body.unwrap().into()).unwrap()
}

async fn ask(app: Router, uri: &str) -> String {
    let request = Request::get(uri).body(axum::body::Body::empty()).unwrap();
    body(app.oneshot(request).await.unwrap()).await
}

/// Requests that overlap in one task keep each its own context over every `await`, and none is left behind.
#[tokio::test]
async fn overlapping_in_one_task() {
    let app = app(&Arc::new(Barrier::new(2)));
    let (one, two) = tokio::join!(ask(app.clone(), "/?1"), ask(app, "/?2"));
    assert_eq!(
        (one.as_str(), two.as_str()),
        ("user 1, user 1", "user 2, user 2")
    );
    assert_eq!(current(), "nobody");

    let barrier = Arc::new(Barrier::new(2));
    let handler = move || meet(Arc::clone(&barrier));
    let app = App::new()
        .wrap(AuditMiddleware::new(|request| {
            actor(Some(request.query_string()))
        }))
        .route("/", actix_web::web::get().to(handler));
    let app = test::init_service(app).await;
    let request = |uri| test::TestRequest::get().uri(uri).to_request();
    let (one, two) = tokio::join!(
        test::call_and_read_body(&app, request("/?1")),
        test::call_and_read_body(&app, request("/?2")),
    );
    assert_eq!(
        (&one[..], &two[..]),
        (&b"user 1, user 1"[..], &b"user 2, user 2"[..])
    );
    assert_eq!(current(), "nobody");
}

/// So do requests on many threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overlapping_on_threads() {
    let app = app(&Arc::new(Barrier::new(32)));
    let asked: Vec<_> = (0..32)
        .map(|id| {
            let app = app.clone();
            tokio::spawn(async move { ask(app, &format!("/?{id}")).await })
        })
        .collect();
    for (id, answer) in asked.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), format!("user {id}, user {id}"));
    }
}

/// What a handler spawns is outside, unless it takes the scope along.
#[tokio::test]
async fn spawned() {
    let handler = async || {
        let plain = tokio::spawn(async { current() }).await.unwrap();
        let along = AuditContext::in_current_scope(async { current() });
        format!("{plain}, {}", tokio::spawn(along).await.unwrap())
    };
    let app = Router::new()
        .route("/", get(handler))
        .layer(AuditLayer::new(|parts| actor(parts.uri.query())));
    assert_eq!(ask(app, "/?7").await, "nobody, user 7");
}

/// The function that says who acts is not yet in the scope of its answer.
#[tokio::test]
async fn asked_outside() {
    let app =
        Router::new()
            .route("/", get(async || current()))
            .layer(AuditLayer::with_async_actor(|_| async {
                ActorRef::user(current())
            }));
    assert_eq!(ask(app, "/").await, "user nobody");
}
