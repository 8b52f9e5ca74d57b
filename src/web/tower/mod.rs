//! Support for axum and other `tower` services.

#[cfg(feature = "axum")]
mod axum;
mod layer;
mod service;

pub use layer::AuditLayer;
pub use service::AuditService;
