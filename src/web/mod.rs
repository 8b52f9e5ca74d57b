//! Contexts for the requests of a web application: who asks, by which request, from where.
//!
//! [`AuditLayer`] is for axum and anything else that speaks `tower` (features `axum`, `tower`),
//! [`AuditMiddleware`] for actix-web (feature `actix-web`). Both do the same.
//!
//! The guide [`web`](crate::guide::web) shows both.

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
