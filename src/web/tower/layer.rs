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

/// Gives every request its [`AuditContext`], as [`web`](crate::web) says: a layer for axum and other `tower` services whose
/// responses are `R`.
///
/// Authentication has to come before it, since the actor is asked for at once: on a router the layer that is added
/// *later* comes first, in a `ServiceBuilder` the one that is added earlier.
///
/// The body of a response must have a [`Default`], as those of axum, hyper and tonic have. A context that cannot be
/// stored (an actor with an empty id, for one) is a mistake in the application: the request is answered with an empty 500,
/// and the extensions of that response have the reason as an `Arc<`[`Error`]`>`, for a layer outside to log.
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
    /// A layer that asks `actor` who acts. It answers with an [`ActorRef`], an `Option` of one, or a `Result` whose error is
    /// the response to the request; see [`IntoActor`].
    pub fn new<A: IntoActor<R>>(actor: impl Fn(&Parts) -> A + Send + Sync + 'static) -> Self {
        Self::boxed(move |parts| Box::pin(ready(actor(parts).into_actor())))
    }

    /// A layer that asks `actor`, which has to wait for the answer. What the future needs, the function takes out of
    /// the request before.
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

    /// Where the address of the peer is found. With the feature `axum`, the default is
    /// `axum::extract::ConnectInfo<SocketAddr>`, or `MockConnectInfo`. Other servers put it elsewhere.
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
