//! Services of `tower` that are not axum's.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::task::{Context, Poll};

use axum::http::{HeaderName, HeaderValue, Request, Response};
use threadline::web::AuditLayer;
use threadline::{ActorRef, AuditContext};
use tower::{Layer, Service, ServiceExt};
use tower_http::request_id::{MakeRequestId, RequestId, SetRequestIdLayer};

use super::anonymous;

/// Answers with the context, found while it is called; and only a service that said it is ready may be.
#[derive(Default)]
struct Strict {
    is_ready: bool,
}

/// Being ready is not inherited: a clone holds no place in the queue.
impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<B> Service<Request<B>> for Strict {
    type Response = Response<Vec<u8>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without asking");
        let ctx = AuditContext::current();
        assert_eq!(request.extensions().get(), ctx.as_ref());
        let body = serde_json::to_vec(&ctx.expect("a scope"));
        ready(Ok(Response::new(body.expect("a context in JSON"))))
    }
}

async fn ask<S>(service: &mut S, request: Request<&'static str>) -> AuditContext
where
    S: Service<Request<&'static str>, Response = Response<Vec<u8>>, Error = Infallible>,
{
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    serde_json::from_slice(response.body()).expect("a context in JSON")
}

/// The service that said it was ready is the one that is called, every time.
#[tokio::test]
async fn readiness() {
    let mut service = AuditLayer::new(|_| ActorRef::user("7")).layer(Strict::default());
    let mut clone = service.clone();
    for service in [&mut service, &mut clone] {
        for _ in 0..3 {
            let ctx = ask(service, Request::new("body")).await;
            assert_eq!(ctx.actor(), &ActorRef::user("7"));
        }
    }
}

/// Where the server keeps the address of the peer, the application can say.
#[tokio::test]
async fn peer_address() {
    #[derive(Clone)]
    struct Peer(IpAddr);

    let mut service = AuditLayer::new(|_| ActorRef::anonymous())
        .peer_address(|parts| parts.extensions.get::<Peer>().map(|peer| peer.0))
        .layer(Strict::default());
    let mut request = Request::new("body");
    request.extensions_mut().insert(Peer([192, 0, 2, 7].into()));
    let expected = anonymous().remote_ip([192, 0, 2, 7].into());
    assert_eq!(ask(&mut service, request).await, expected);
}

/// A request id that a layer outside of ours makes is recorded.
#[tokio::test]
async fn made_request_id() {
    #[derive(Clone)]
    struct Always;

    impl MakeRequestId for Always {
        fn make_request_id<B>(&mut self, _request: &Request<B>) -> Option<RequestId> {
            Some(RequestId::new(HeaderValue::from_static("made")))
        }
    }

    let audit = AuditLayer::new(|_| ActorRef::anonymous());
    let set = SetRequestIdLayer::new(HeaderName::from_static("x-request-id"), Always);
    let mut service = set.layer(audit.layer(Strict::default()));
    assert_eq!(
        ask(&mut service, Request::new("body")).await,
        anonymous().request_id("made")
    );
}
