use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::layer::AuditLayer;
use crate::context::ActorRef;
use crate::error::Error;
use crate::web::into_actor::IntoActor;

/// The service that [`AuditLayer`] wraps around another service.
#[must_use]
pub struct AuditService<S, R> {
    inner: S,
    layer: Arc<AuditLayer<R>>,
}

impl<S, R> AuditService<S, R> {
    pub(super) fn new(inner: S, layer: Arc<AuditLayer<R>>) -> Self {
        Self { inner, layer }
    }
}

impl<S, R> Layer<S> for AuditLayer<R> {
    type Service = AuditService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        AuditService::new(inner, Arc::new(self.clone()))
    }
}

impl<S: Clone, R> Clone for AuditService<S, R> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.layer))
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for AuditService<S, Response<ResBody>>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>, Future: Send>
        + Clone
        + Send
        + 'static,
    ReqBody: Send + 'static,
    ResBody: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        // Calls the service that reported that it is ready; its clone may not be ready yet.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let layer = Arc::clone(&self.layer);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let actor = match layer.actor(&parts).await {
                Ok(actor) => actor,
                Err(answer) => return Ok(answer),
            };
            let ctx = match layer.context(actor, &parts) {
                Ok(ctx) => ctx,
                Err(error) => return Ok(refusal(error)),
            };
            parts.extensions.insert(ctx.clone());
            let request = Request::from_parts(parts, body);
            // A service may start its work in `call`, so that runs in the scope too.
            ctx.scope(async move { inner.call(request).await }).await
        })
    }
}

impl<B: Default, A: IntoActor<http::Response<B>>> IntoActor<http::Response<B>>
    for Result<A, http::StatusCode>
{
    fn into_actor(self) -> Result<ActorRef, http::Response<B>> {
        match self {
            Ok(actor) => actor.into_actor(),
            Err(status) => Err(empty(status)),
        }
    }
}

fn refusal<B: Default>(error: Error) -> Response<B> {
    let mut response = empty(StatusCode::INTERNAL_SERVER_ERROR);
    response.extensions_mut().insert(Arc::new(error));
    response
}

fn empty<B: Default>(status: StatusCode) -> Response<B> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}
