use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::context::AuditContext;
use crate::web::missing_audit_layer::MissingAuditLayer;

impl IntoResponse for MissingAuditLayer {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

/// Extracts the context that [`AuditLayer`](crate::web::AuditLayer) created, as an argument of a
/// handler.
impl<S: Sync> FromRequestParts<S> for AuditContext {
    type Rejection = MissingAuditLayer;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, MissingAuditLayer> {
        parts.extensions.get().cloned().ok_or(MissingAuditLayer)
    }
}

/// Extracts `None` outside the layer.
impl<S: Sync> OptionalFromRequestParts<S> for AuditContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}

pub(super) fn peer(parts: &Parts) -> Option<IpAddr> {
    let real = parts.extensions.get().map(|ConnectInfo(peer)| peer);
    let mock = parts.extensions.get().map(|MockConnectInfo(peer)| peer);
    real.or(mock).map(SocketAddr::ip)
}
