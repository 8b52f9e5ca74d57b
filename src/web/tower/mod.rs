//! For axum and everything else that speaks `tower`.

#[cfg(feature = "axum")]
mod axum;
mod layer;
mod service;

pub use layer::AuditLayer;
pub use service::AuditService;
