use std::fmt;

use crate::context::AuditContext;

/// Why there is no [`AuditContext`] for a handler: its route lies outside of the audit layer. A mistake in the
/// application, answered with 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingAuditLayer;

impl fmt::Display for MissingAuditLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this route is not within the audit layer")
    }
}

impl std::error::Error for MissingAuditLayer {}

#[cfg(feature = "axum")]
mod for_axum {
    use std::convert::Infallible;

    use axum::extract::{FromRequestParts, OptionalFromRequestParts};
    use axum::response::{IntoResponse, Response};
    use http::StatusCode;
    use http::request::Parts;

    use super::{AuditContext, MissingAuditLayer};

    impl IntoResponse for MissingAuditLayer {
        fn into_response(self) -> Response {
            (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
        }
    }

    /// The context that [`AuditLayer`](crate::web::AuditLayer) made, as an argument of a handler.
    impl<S: Sync> FromRequestParts<S> for AuditContext {
        type Rejection = MissingAuditLayer;

        async fn from_request_parts(
            parts: &mut Parts,
            _state: &S,
        ) -> Result<Self, MissingAuditLayer> {
            parts.extensions.get().cloned().ok_or(MissingAuditLayer)
        }
    }

    /// `None` outside of the layer.
    impl<S: Sync> OptionalFromRequestParts<S> for AuditContext {
        type Rejection = Infallible;

        async fn from_request_parts(
            parts: &mut Parts,
            _state: &S,
        ) -> Result<Option<Self>, Infallible> {
            Ok(parts.extensions.get().cloned())
        }
    }
}

#[cfg(feature = "actix-web")]
mod for_actix {
    use std::future::{Ready, ready};

    use actix_web::dev::Payload;
    use actix_web::{FromRequest, HttpMessage, HttpRequest, ResponseError};

    use super::{AuditContext, MissingAuditLayer};

    /// 500, which is what [`ResponseError`] says of everything unless told otherwise.
    impl ResponseError for MissingAuditLayer {}

    /// The context that [`AuditMiddleware`](crate::web::AuditMiddleware) made, as an argument of a handler.
    impl FromRequest for AuditContext {
        type Error = MissingAuditLayer;
        type Future = Ready<Result<Self, MissingAuditLayer>>;

        fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
            ready(request.extensions().get().cloned().ok_or(MissingAuditLayer))
        }
    }
}
