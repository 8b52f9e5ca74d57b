//! Support for actix-web.

mod extractor;
mod middleware;

pub use middleware::{AuditMiddleware, AuditMiddlewareService};
