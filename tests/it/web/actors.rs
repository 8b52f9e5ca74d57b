//! Who acts: only what the application says.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::error::ErrorForbidden;
use actix_web::{App, test};
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use threadline::web::{AuditLayer, AuditMiddleware, IntoActor};
use threadline::{ActorRef, AuditContext, Error};
use tower::ServiceExt;

use super::{Capabilities, anonymous};

/// What a service answers, and whether it was asked.
struct Answer {
    status: u16,
    was_served: bool,
}

async fn by_axum(layer: AuditLayer<Response>) -> (Answer, Response) {
    let served = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&served);
    let handler = async move || note.store(true, Ordering::SeqCst);
    let app = Router::new().route("/", get(handler)).layer(layer);
    let response = app
        .oneshot(Capabilities::default().for_axum())
        .await
        .unwrap();
    let answer = Answer {
        status: response.status().as_u16(),
        was_served: served.load(Ordering::SeqCst),
    };
    (answer, response)
}

async fn by_actix(middleware: AuditMiddleware) -> (Answer, actix_web::Error) {
    let served = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&served);
    let handler = move || {
        note.store(true, Ordering::SeqCst);
        ready("")
    };
    let app = App::new()
        .wrap(middleware)
        .route("/", actix_web::web::get().to(handler));
    let app = test::init_service(app).await;
    let request = Capabilities::default().for_actix().to_request();
    let error = test::try_call_service(&app, request)
        .await
        .expect_err("an error is the answer");
    let answer = Answer {
        status: error.error_response().status().as_u16(),
        was_served: served.load(Ordering::SeqCst),
    };
    (answer, error)
}

/// Nothing that a client sends is an actor, by whatever name it goes.
#[tokio::test]
async fn not_from_headers() {
    let mut asked = Capabilities::default();
    for name in [
        "actor",
        "x-actor",
        "x-actor-ref",
        "threadline-actor",
        "x-threadline-actor-ref",
        "x-user",
        "x-user-id",
        "x-forwarded-user",
        "x-remote-user",
        "remote-user",
        "x-auth-request-user",
        "authorization",
        "cookie",
        "from",
        "x-on-behalf-of",
        "x-source",
        "x-job-id",
        "baggage",
        "tracestate",
    ] {
        asked = asked.header(name, r#"{"type":"admin","id":"root"}"#);
    }
    assert_eq!(asked.context().await, anonymous());
}

/// An actor, perhaps one, or a result of either, at once or later: they mean the same.
#[tokio::test]
#[expect(clippy::result_large_err, reason = "the lint knows no web framework")]
async fn kinds_of_answers() {
    fn ada() -> ActorRef {
        ActorRef::user("ada")
    }

    async fn check<A, B>(for_axum: fn() -> A, for_actix: fn() -> B, expected: ActorRef)
    where
        A: IntoActor<Response> + Send + 'static,
        B: IntoActor<actix_web::Error> + 'static,
    {
        let expected = AuditContext::new(expected);
        let now = Capabilities::default().context_by(
            AuditLayer::new(move |_| for_axum()),
            AuditMiddleware::new(move |_| for_actix()),
        );
        assert_eq!(now.await, expected);
        let later = Capabilities::default().context_by(
            AuditLayer::with_async_actor(move |_| async move {
                tokio::task::yield_now().await;
                for_axum()
            }),
            AuditMiddleware::with_async_actor(move |_| async move {
                tokio::task::yield_now().await;
                for_actix()
            }),
        );
        assert_eq!(later.await, expected);
    }
    check(ada, ada, ada()).await;
    check(|| Some(ada()), || Some(ada()), ada()).await;
    check(
        || None::<ActorRef>,
        || None::<ActorRef>,
        ActorRef::anonymous(),
    )
    .await;
    check(|| Ok::<_, Response>(ada()), || Ok(ada()), ada()).await;
    check(
        || Ok::<_, StatusCode>(None::<ActorRef>),
        || Ok(None::<ActorRef>),
        ActorRef::anonymous(),
    )
    .await;
}

/// Whom the application turns away gets its answer, and no handler sees the request.
#[tokio::test]
#[expect(clippy::result_large_err, reason = "the lint knows no web framework")]
async fn turned_away() {
    let now = AuditLayer::new(|_| Err::<ActorRef, _>(StatusCode::FORBIDDEN.into_response()));
    let later = AuditLayer::with_async_actor(|_| async {
        Err::<ActorRef, _>(StatusCode::FORBIDDEN.into_response())
    });
    let shortly = AuditLayer::new(|_| Err::<ActorRef, _>(StatusCode::FORBIDDEN));
    for layer in [now, later, shortly] {
        let (answer, _) = by_axum(layer).await;
        assert_eq!((answer.status, answer.was_served), (403, false));
    }
    let now = AuditMiddleware::new(|_| Err::<ActorRef, _>(ErrorForbidden("no")));
    let later =
        AuditMiddleware::with_async_actor(|_| async { Err::<ActorRef, _>(ErrorForbidden("no")) });
    for middleware in [now, later] {
        let (answer, error) = by_actix(middleware).await;
        assert_eq!((answer.status, answer.was_served), (403, false));
        assert_eq!(error.to_string(), "no");
    }
}

/// An actor that cannot be stored does not go through: the client learns nothing but 500, those outside the reason.
#[tokio::test]
async fn invalid_actor() {
    for id in ["", "nul\0"] {
        let (answer, response) = by_axum(AuditLayer::new(move |_| ActorRef::user(id))).await;
        assert_eq!((answer.status, answer.was_served), (500, false));
        let reason = response.extensions().get::<Arc<Error>>();
        assert!(matches!(reason.unwrap().as_ref(), Error::InvalidActor(_)));
        let body = axum::body::to_bytes(response.into_body(), 1000).await;
        assert_eq!(body.unwrap(), "");

        let (answer, error) = by_actix(AuditMiddleware::new(move |_| ActorRef::user(id))).await;
        assert_eq!((answer.status, answer.was_served), (500, false));
        assert!(error.to_string().contains("invalid actor"), "{error}");
        let body = actix_web::body::to_bytes(error.error_response().into_body()).await;
        assert_eq!(body.unwrap(), "");
    }
}

/// Nor does a context that the application made impossible to store.
#[tokio::test]
async fn invalid_context() {
    let long = "x".repeat(257);
    let layer = AuditLayer::new(|_| ActorRef::user("7")).source(&long);
    let (answer, response) = by_axum(layer).await;
    assert_eq!((answer.status, answer.was_served), (500, false));
    let reason = response.extensions().get::<Arc<Error>>();
    assert!(matches!(reason.unwrap().as_ref(), Error::InvalidContext(_)));

    let middleware = AuditMiddleware::new(|_| ActorRef::user("7"))
        .map_context(|ctx, _| ctx.on_behalf_of(ActorRef::user("")));
    let (answer, _) = by_actix(middleware).await;
    assert_eq!((answer.status, answer.was_served), (500, false));
}
