//! Creates an [`AuditContext`](crate::AuditContext) for each request of a web application: the
//! actor, the ids of the request, and the address of the client.
//!
//! Use [`AuditLayer`] for axum and other `tower` services (features `axum`, `tower`), and
//! [`AuditMiddleware`] for actix-web (feature `actix-web`). Both behave alike.
//!
//! The guide [`web`](crate::guide::web) shows both.

#[cfg(feature = "actix-web")]
mod actix;
mod headers;
mod into_actor;
#[cfg(any(feature = "axum", feature = "actix-web"))]
mod missing_audit_layer;
mod options;
#[cfg(feature = "tower")]
mod tower;
mod trace_parent;
mod trusted_proxies;

#[cfg(feature = "actix-web")]
pub use actix::{AuditMiddleware, AuditMiddlewareService};
pub use into_actor::IntoActor;
pub use ipnet::IpNet;
#[cfg(any(feature = "axum", feature = "actix-web"))]
pub use missing_audit_layer::MissingAuditLayer;
#[cfg(feature = "tower")]
pub use tower::{AuditLayer, AuditService};
pub use trusted_proxies::TrustedProxies;
