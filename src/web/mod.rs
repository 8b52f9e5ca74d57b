//! Contexts for the requests of a web application: who asks, by which request, from where.
//!
//! [`AuditLayer`] is for axum and anything else that speaks `tower` (features `axum`, `tower`),
//! [`AuditMiddleware`] for actix-web (feature `actix-web`). Both do the same for every request:
//!
//! - Ask a function of yours who acts. **Nothing that a client sends becomes an actor by itself.**
//! - Take the request id, the correlation id and the trace id out of the [headers](#headers), where they pass.
//! - Find the address of the client; headers about it are believed only from [`TrustedProxies`].
//! - Put the [`AuditContext`](crate::AuditContext) into the extensions of the request, where handlers take it as an
//!   argument, and run them in its [scope](crate::AuditContext::scope).
//!
//! The guide `docs/web.md` shows all of it in use.
//!
//! # Headers
//!
//! | header | becomes |
//! |---|---|
//! | `x-request-id` | `request_id` |
//! | `x-correlation-id` | `correlation_id` |
//! | `traceparent` (W3C Trace Context) | its trace id is the `correlation_id`, or `trace_id` in `meta` where `x-correlation-id` is that |
//! | `x-forwarded-for` | `remote_ip`, from trusted proxies only |
//!
//! An id has at most 256 bytes of visible ASCII, which leaves out the space. One that is longer, empty, or of other
//! bytes, and a header that is there twice, is as if it were not there: never an error, and never cut to fit. A client
//! can choose these ids, so they find things in the record and prove nothing.

#[cfg(feature = "tower")]
mod audit_layer;
#[cfg(feature = "actix-web")]
mod audit_middleware;
#[cfg(feature = "tower")]
mod audit_service;
#[cfg(any(feature = "axum", feature = "actix-web"))]
mod extractors;
mod headers;
mod into_actor;
mod options;
mod trace_parent;
mod trusted_proxies;

#[cfg(feature = "tower")]
pub use audit_layer::AuditLayer;
#[cfg(feature = "actix-web")]
pub use audit_middleware::{AuditMiddleware, AuditMiddlewareService};
#[cfg(feature = "tower")]
pub use audit_service::AuditService;
#[cfg(any(feature = "axum", feature = "actix-web"))]
pub use extractors::MissingAuditLayer;
pub use into_actor::IntoActor;
pub use ipnet::IpNet;
pub use trusted_proxies::TrustedProxies;
