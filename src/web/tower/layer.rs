use std::future::ready;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderName;
use http::request::Parts;

#[cfg(feature = "axum")]
use super::axum::peer;
use crate::context::{ActorRef, AuditContext};
use crate::error::Error;
use crate::web::into_actor::IntoActor;
use crate::web::options::{Options, option_methods};

type ActorFuture<R> = Pin<Box<dyn Future<Output = Result<ActorRef, R>> + Send>>;
type FindActor<R> = dyn Fn(&Parts) -> ActorFuture<R> + Send + Sync;
type MapContext = dyn Fn(AuditContext, &Parts) -> AuditContext + Send + Sync;
type PeerAddress = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

/// A layer for axum and other `tower` services that gives every request its [`AuditContext`], as
/// described in [`web`](crate::web). `R` is the response of the service.
///
/// Authentication must run before this layer, because the layer asks for the actor at once. On a
/// router, the layer added *later* runs first; in a `ServiceBuilder`, the layer added earlier does.
///
/// The body of a response must implement [`Default`], as the bodies of axum, hyper and tonic do. A
/// context that cannot be stored (such as one whose actor has an empty id) is a bug in the
/// application. The layer then answers the request with status 500 and an empty body, and puts the
/// reason into the extensions of the response as an `Arc<`[`Error`]`>`, for an outer layer to log.
///
/// # Example
///
/// ```
/// use axum::Router;
/// use axum::routing::post;
/// use threadline::web::AuditLayer;
/// use threadline::{ActorRef, AuditContext};
///
/// /// Put into the extensions by the authentication.
/// #[derive(Clone)]
/// struct Login { user_id: i64 }
///
/// let audit = AuditLayer::new(|parts| {
///     let login = parts.extensions.get::<Login>();
///     login.map(|login| ActorRef::user(login.user_id.to_string()))
/// });
/// let app = Router::new()
///     .route("/who", post(async |ctx: AuditContext| ctx.actor().to_string()))
///     .layer(audit.source("shop-api"));
/// # async fn check(app: Router) -> Result<(), Box<dyn std::error::Error>> {
/// # use tower::ServiceExt;
/// # for (login, answer) in [(None, "anonymous"), (Some(Login { user_id: 7 }), "user 7")] {
/// #     let mut request = axum::http::Request::post("/who").body(axum::body::Body::empty())?;
/// #     login.map(|login| request.extensions_mut().insert(login));
/// #     let response = app.clone().oneshot(request).await?;
/// #     assert_eq!(axum::body::to_bytes(response.into_body(), 100).await?, answer);
/// # }
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(check(app))?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct AuditLayer<R> {
    actor: Arc<FindActor<R>>,
    map: Arc<MapContext>,
    options: Options,
    peer: Arc<PeerAddress>,
}

impl<R: Send + 'static> AuditLayer<R> {
    /// Creates a layer that calls `actor` to find the actor. The function returns an [`ActorRef`],
    /// an `Option` of one, or a `Result` whose error is the response to the request; see
    /// [`IntoActor`].
    pub fn new<A: IntoActor<R>>(actor: impl Fn(&Parts) -> A + Send + Sync + 'static) -> Self {
        Self::boxed(move |parts| Box::pin(ready(actor(parts).into_actor())))
    }

    /// Creates a layer whose `actor` function is async. The function must take what its future
    /// needs out of the request before it returns the future.
    ///
    /// # Example
    ///
    /// ```
    /// use axum::http::StatusCode;
    /// use axum::response::Response;
    /// use threadline::ActorRef;
    /// use threadline::web::AuditLayer;
    ///
    /// # #[derive(Clone)] struct Session;
    /// # impl Session { async fn user_id(&self) -> Option<String> { None } }
    /// let audit = AuditLayer::with_async_actor(|parts| {
    ///     let session = parts.extensions.get::<Session>().cloned();
    ///     async move {
    ///         let Some(session) = session else { return Ok(ActorRef::anonymous()) };
    ///         let user = session.user_id().await.map(ActorRef::user);
    ///         user.ok_or(StatusCode::UNAUTHORIZED)
    ///     }
    /// });
    /// # let _: AuditLayer<Response> = audit;
    /// ```
    pub fn with_async_actor<F>(actor: impl Fn(&Parts) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoActor<R>> + Send + 'static,
    {
        Self::boxed(move |parts| {
            let actor = actor(parts);
            Box::pin(async { actor.await.into_actor() })
        })
    }

    fn boxed(actor: impl Fn(&Parts) -> ActorFuture<R> + Send + Sync + 'static) -> Self {
        Self {
            actor: Arc::new(actor),
            map: Arc::new(|ctx, _| ctx),
            options: Options::default(),
            peer: Arc::new(peer),
        }
    }
}

impl<R> AuditLayer<R> {
    option_methods!(HeaderName, Parts);

    /// Sets how the address of the peer is found. With the feature `axum`, the default is
    /// `axum::extract::ConnectInfo<SocketAddr>` or `MockConnectInfo`. Other servers provide the
    /// address elsewhere.
    pub fn peer_address(
        mut self,
        peer: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.peer = Arc::new(peer);
        self
    }

    pub(super) fn actor(&self, parts: &Parts) -> ActorFuture<R> {
        (self.actor)(parts)
    }

    pub(super) fn context(&self, actor: ActorRef, parts: &Parts) -> Result<AuditContext, Error> {
        let peer = (self.peer)(parts);
        self.options
            .context(actor, &parts.headers, peer, |ctx| (self.map)(ctx, parts))
    }
}

impl<R> Clone for AuditLayer<R> {
    fn clone(&self) -> Self {
        Self {
            actor: Arc::clone(&self.actor),
            map: Arc::clone(&self.map),
            options: self.options.clone(),
            peer: Arc::clone(&self.peer),
        }
    }
}

#[cfg(not(feature = "axum"))]
fn peer(_parts: &Parts) -> Option<IpAddr> {
    None
}
