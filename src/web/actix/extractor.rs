use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest, ResponseError};

use crate::context::AuditContext;
use crate::web::missing_audit_layer::MissingAuditLayer;

/// Responds with status 500, the default of [`ResponseError`].
impl ResponseError for MissingAuditLayer {}

/// Extracts the context that [`AuditMiddleware`](crate::web::AuditMiddleware) created, as an
/// argument of a handler.
impl FromRequest for AuditContext {
    type Error = MissingAuditLayer;
    type Future = Ready<Result<Self, MissingAuditLayer>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(request.extensions().get().cloned().ok_or(MissingAuditLayer))
    }
}
