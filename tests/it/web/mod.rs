//! The web front end: what every rule says, axum and actix-web do alike. No test but one needs a database.

mod actors;
mod client_address;
mod extractors;
mod headers;
mod plain_tower;
mod recorded;
mod scope;

use std::net::SocketAddr;

use actix_web::{App, test};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use axum::routing::get;
use threadline::web::{AuditLayer, AuditMiddleware, TrustedProxies};
use threadline::{ActorRef, AuditContext};
use tower::ServiceExt;

/// A request from the network.
#[derive(Debug, Clone, Default)]
struct Capabilities {
    headers: Vec<(&'static str, Vec<u8>)>,
    peer: Option<SocketAddr>,
    proxies: TrustedProxies,
}

impl Capabilities {
    fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_owned()));
        self
    }

    fn from(mut self, peer: &str) -> Self {
        self.peer = Some(peer.parse().expect("an address with a port"));
        self
    }

    /// The context that a handler gets of either framework, with nothing else set.
    async fn context(self) -> AuditContext {
        let layer = AuditLayer::new(|_| None::<ActorRef>).trusted_proxies(self.proxies.clone());
        let middleware =
            AuditMiddleware::new(|_| None::<ActorRef>).trusted_proxies(self.proxies.clone());
        self.context_by(layer, middleware).await
    }

    /// The context that a handler gets, which is in scope there, and the same by both frameworks.
    async fn context_by(
        self,
        layer: AuditLayer<Response>,
        middleware: AuditMiddleware,
    ) -> AuditContext {
        let app = Router::new().route("/", get(seen)).layer(layer);
        let response = app.oneshot(self.for_axum()).await.expect("no error");
        let body = to_bytes(response.into_body(), 10_000).await;
        let by_axum: AuditContext =
            serde_json::from_slice(&body.expect("a body")).expect("a context in JSON");

        let app = App::new()
            .wrap(middleware)
            .route("/", actix_web::web::get().to(seen));
        let app = test::init_service(app).await;
        let by_actix: AuditContext =
            test::call_and_read_body_json(&app, self.for_actix().to_request()).await;

        assert_eq!(by_axum, by_actix);
        by_axum
    }

    fn for_axum(&self) -> Request<Body> {
        let mut request = Request::get("/");
        for (name, value) in &self.headers {
            request = request.header(*name, value.as_slice());
        }
        if let Some(peer) = self.peer {
            request = request.extension(ConnectInfo(peer));
        }
        request.body(Body::empty()).expect("a request")
    }

    fn for_actix(&self) -> test::TestRequest {
        use actix_web::http::header::HeaderValue;

        let mut request = test::TestRequest::get().uri("/");
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(value).expect("a header");
            request = request.append_header((*name, value));
        }
        if let Some(peer) = self.peer {
            request = request.peer_addr(peer);
        }
        request
    }
}

async fn seen(ctx: AuditContext) -> String {
    tokio::task::yield_now().await;
    assert_eq!(AuditContext::current().as_ref(), Some(&ctx));
    serde_json::to_string(&ctx).expect("a context that validates")
}

fn anonymous() -> AuditContext {
    AuditContext::new(ActorRef::anonymous())
}
