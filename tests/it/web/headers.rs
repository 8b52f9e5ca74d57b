//! What is taken out of the headers, and what is not believed.

use actix_web::http::header::HeaderName as ActixHeaderName;
use axum::http::HeaderName;
use proptest::prelude::*;
use serde_json::json;
use threadline::web::{AuditLayer, AuditMiddleware, TrustedProxies};
use threadline::{ActorRef, AuditContext};

use super::{Capabilities, anonymous};

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Without headers there are no ids: none is made up.
#[tokio::test]
async fn absent() {
    assert_eq!(Capabilities::default().context().await, anonymous());
}

/// The ids of a request are recorded as they came.
#[tokio::test]
async fn ids() {
    let asked = Capabilities::default()
        .header("x-request-id", "r-1")
        .header("X-Correlation-Id", "{order:\"77\"}");
    assert_eq!(
        asked.context().await,
        anonymous()
            .request_id("r-1")
            .correlation_id("{order:\"77\"}")
    );
}

/// An id that is empty, too long, or not of visible ASCII, is as if it were not there.
#[tokio::test]
async fn hostile_ids() {
    let longest = "x".repeat(256);
    let asked = Capabilities::default()
        .header("x-request-id", &longest)
        .header("x-correlation-id", &longest);
    let expected = anonymous().request_id(&longest).correlation_id(&longest);
    assert_eq!(asked.context().await, expected);

    for value in [
        b"".as_slice(),
        &[b'x'; 257],
        "x".repeat(100_000).as_bytes(),
        b"two words",
        b" ",
        b"tab\there",
        "naïve".as_bytes(),
        b"\x80\xff",
        "\u{2028}".as_bytes(),
    ] {
        let asked = Capabilities::default()
            .header("x-request-id", value)
            .header("x-correlation-id", value)
            .header("traceparent", value);
        assert_eq!(asked.context().await, anonymous(), "{value:?}");
    }
}

/// A header that is there twice is not believed, even when both say the same.
#[tokio::test]
async fn given_twice() {
    for second in ["a", "b"] {
        let asked = Capabilities::default()
            .header("x-request-id", "a")
            .header("x-request-id", second)
            .header("x-correlation-id", "a")
            .header("x-correlation-id", second)
            .header("traceparent", TRACE_PARENT)
            .header("traceparent", TRACE_PARENT);
        assert_eq!(asked.context().await, anonymous());
    }
}

/// The trace id is the correlation id, and stands in `meta` where there is another one.
#[tokio::test]
async fn trace_parent() {
    let asked = Capabilities::default().header("traceparent", TRACE_PARENT);
    let expected = anonymous().correlation_id(TRACE_ID);
    assert_eq!(asked.clone().context().await, expected);

    let unusable = asked.clone().header("x-correlation-id", "two words");
    assert_eq!(unusable.context().await, expected);

    let both = asked.header("x-correlation-id", "c");
    assert_eq!(
        both.context().await,
        anonymous()
            .correlation_id("c")
            .meta(json!({"trace_id": TRACE_ID}))
    );
}

/// A trace that breaks the standard is as if it were not there.
#[tokio::test]
async fn broken_trace_parent() {
    for value in [
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ] {
        let asked = Capabilities::default().header("traceparent", value);
        assert_eq!(asked.context().await, anonymous(), "{value}");
    }
}

/// What the application puts into `meta` does not lose the trace id, nor is it overwritten by it.
#[tokio::test]
async fn trace_id_beside_meta() {
    for (meta, expected) in [
        (
            json!({"tenant": 7}),
            json!({"tenant": 7, "trace_id": TRACE_ID}),
        ),
        (json!({"trace_id": "mine"}), json!({"trace_id": "mine"})),
        (json!(["list"]), json!(["list"])),
    ] {
        let for_actix = meta.clone();
        let layer =
            AuditLayer::new(|_| None::<ActorRef>).map_context(move |ctx, _| ctx.meta(meta.clone()));
        let middleware = AuditMiddleware::new(|_| None::<ActorRef>)
            .map_context(move |ctx, _| ctx.meta(for_actix.clone()));
        let asked = Capabilities::default()
            .header("traceparent", TRACE_PARENT)
            .header("x-correlation-id", "c");
        assert_eq!(
            asked.context_by(layer, middleware).await,
            anonymous().correlation_id("c").meta(expected)
        );
    }
}

/// Under other names, the ordinary ones mean nothing.
#[tokio::test]
async fn other_names() {
    let layer = AuditLayer::new(|_| None::<ActorRef>)
        .request_id_header(HeaderName::from_static("x-amzn-trace-id"))
        .correlation_id_header(HeaderName::from_static("x-order"));
    let middleware = AuditMiddleware::new(|_| None::<ActorRef>)
        .request_id_header(ActixHeaderName::from_static("x-amzn-trace-id"))
        .correlation_id_header(ActixHeaderName::from_static("x-order"));
    let asked = Capabilities::default()
        .header("x-request-id", "r")
        .header("x-correlation-id", "c")
        .header(
            "x-amzn-trace-id",
            "Root=1-67891233-abcdef012345678912345678",
        )
        .header("x-order", "77");
    assert_eq!(
        asked.context_by(layer, middleware).await,
        anonymous()
            .request_id("Root=1-67891233-abcdef012345678912345678")
            .correlation_id("77")
    );
}

/// The name of the application, and what it adds itself, in the order in which it was asked to.
#[tokio::test]
async fn source_and_more() {
    let layer = AuditLayer::new(|_| None::<ActorRef>)
        .source("shop-api")
        .map_context(|ctx, parts| ctx.meta(json!({"path": parts.uri.path()})))
        .map_context(|ctx, parts| ctx.on_behalf_of(ActorRef::user(parts.method.as_str())));
    let middleware = AuditMiddleware::new(|_| None::<ActorRef>)
        .source("shop-api")
        .map_context(|ctx, request| ctx.meta(json!({"path": request.path()})))
        .map_context(|ctx, request| ctx.on_behalf_of(ActorRef::user(request.method().as_str())));
    assert_eq!(
        Capabilities::default().context_by(layer, middleware).await,
        anonymous()
            .source("shop-api")
            .meta(json!({"path": "/"}))
            .on_behalf_of(ActorRef::user("GET"))
    );
}

fn header_value() -> impl Strategy<Value = Vec<u8>> {
    // All that a server lets through: no control characters but the tab.
    let any = any::<u8>().prop_filter("allowed in a header", |b| {
        *b == b'\t' || (*b >= 32 && *b != 127)
    });
    prop_oneof![
        proptest::collection::vec(any, 0..300),
        "[0-9a-f:., \\[\\]-]{0,80}".prop_map(String::into_bytes),
        "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.?)?".prop_map(String::into_bytes),
    ]
    .prop_filter("a header", |value| {
        axum::http::HeaderValue::from_bytes(value).is_ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands in the headers, there is a context that can be stored, and its actor is none of them.
    #[test]
    fn any_header(
        headers in proptest::collection::vec((0_usize..4, header_value()), 0..8),
        peer in proptest::option::of(any::<std::net::SocketAddr>()),
        hops in 0_usize..4,
    ) {
        let names = ["x-request-id", "x-correlation-id", "traceparent", "x-forwarded-for"];
        let headers = headers.into_iter().map(|(name, value)| (names[name], value));
        let asked = Capabilities {
            headers: headers.collect(),
            peer,
            proxies: TrustedProxies::hops(hops),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let ctx: AuditContext = runtime.block_on(asked.context());
        prop_assert!(ctx.validate().is_ok());
        prop_assert_eq!(ctx.actor(), &ActorRef::anonymous());
    }
}
