use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::error::InternalError;
use actix_web::http::header::HeaderName;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};

use crate::context::{ActorRef, AuditContext};
use crate::web::into_actor::IntoActor;
use crate::web::options::{Options, option_methods};

type LocalFuture<T> = Pin<Box<dyn Future<Output = Result<T, Error>>>>;
type FindActor = dyn Fn(&HttpRequest) -> LocalFuture<ActorRef> + Send + Sync;
type MapContext = dyn Fn(AuditContext, &HttpRequest) -> AuditContext + Send + Sync;

/// A middleware for actix-web that gives every request its [`AuditContext`], as described in
/// [`web`](crate::web).
///
/// Authentication must run before this middleware, because the middleware asks for the actor at
/// once. Of two calls to `wrap`, the *later* one runs first.
///
/// A context that cannot be stored (such as one whose actor has an empty id) is a bug in the
/// application. The middleware then answers the request with status 500 and an empty body. The
/// error that it returns to an outer middleware holds the reason, and can be logged there.
/// (actix-web's own `Logger` does not log requests that end in an error of a middleware.)
///
/// # Example
///
/// ```
/// use actix_web::{App, HttpMessage, web};
/// use threadline::web::AuditMiddleware;
/// use threadline::{ActorRef, AuditContext};
///
/// /// Put into the extensions by the authentication.
/// struct Login { user_id: i64 }
///
/// let audit = AuditMiddleware::new(|request| {
///     let extensions = request.extensions();
///     let login = extensions.get::<Login>();
///     login.map(|login| ActorRef::user(login.user_id.to_string()))
/// });
/// let app = App::new()
///     .wrap(audit.source("shop-api"))
///     .route("/who", web::post().to(async |ctx: AuditContext| ctx.actor().to_string()));
/// # use actix_web::test;
/// # actix_web::rt::System::new().block_on(async {
/// # let app = test::init_service(app).await;
/// # for (login, answer) in [(None, "anonymous"), (Some(Login { user_id: 7 }), "user 7")] {
/// #     let request = test::TestRequest::post().uri("/who").to_request();
/// #     login.map(|login| request.extensions_mut().insert(login));
/// #     assert_eq!(test::call_and_read_body(&app, request).await, answer);
/// # }
/// # });
/// ```
#[derive(Clone)]
#[must_use]
pub struct AuditMiddleware {
    actor: Arc<FindActor>,
    map: Arc<MapContext>,
    options: Options,
}

impl AuditMiddleware {
    /// Creates a middleware that calls `actor` to find the actor. The function returns an
    /// [`ActorRef`], an `Option` of one, or a `Result` whose error is the answer to the request;
    /// see [`IntoActor`].
    pub fn new<A: IntoActor<Error>>(
        actor: impl Fn(&HttpRequest) -> A + Send + Sync + 'static,
    ) -> Self {
        Self::boxed(move |request| Box::pin(ready(actor(request).into_actor())))
    }

    /// Creates a middleware whose `actor` function is async. The function must take what its future
    /// needs out of the request before it returns the future, or use an extractor.
    ///
    /// # Example
    ///
    /// ```
    /// use actix_web::error::ErrorUnauthorized;
    /// use actix_web::{FromRequest, web};
    /// use threadline::ActorRef;
    /// use threadline::web::AuditMiddleware;
    ///
    /// # struct Sessions;
    /// # impl Sessions { async fn user_id(&self) -> Option<String> { None } }
    /// let audit = AuditMiddleware::with_async_actor(|request| {
    ///     let sessions = web::Data::<Sessions>::extract(request);
    ///     async {
    ///         let user = sessions.await?.user_id().await.map(ActorRef::user);
    ///         user.ok_or_else(|| ErrorUnauthorized("please log in"))
    ///     }
    /// });
    /// # let _ = audit;
    /// ```
    pub fn with_async_actor<F>(actor: impl Fn(&HttpRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoActor<Error>> + 'static,
    {
        Self::boxed(move |request| {
            let actor = actor(request);
            Box::pin(async { actor.await.into_actor() })
        })
    }

    fn boxed(
        actor: impl Fn(&HttpRequest) -> LocalFuture<ActorRef> + Send + Sync + 'static,
    ) -> Self {
        Self {
            actor: Arc::new(actor),
            map: Arc::new(|ctx, _| ctx),
            options: Options::default(),
        }
    }

    option_methods!(HeaderName, HttpRequest);

    fn context(&self, actor: ActorRef, request: &HttpRequest) -> Result<AuditContext, Error> {
        // Not `connection_info`, which trusts the headers.
        let peer = request.peer_addr().as_ref().map(SocketAddr::ip);
        self.options
            .context(actor, request.headers(), peer, |ctx| {
                (self.map)(ctx, request)
            })
            .map_err(|error| {
                let response = HttpResponse::InternalServerError().finish();
                InternalError::from_response(error, response).into()
            })
    }
}

impl<S, B> Transform<S, ServiceRequest> for AuditMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Transform = AuditMiddlewareService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(AuditMiddlewareService {
            inner: Rc::new(inner),
            middleware: self.clone(),
        }))
    }
}

/// The service that [`AuditMiddleware`] wraps around another service.
pub struct AuditMiddlewareService<S> {
    inner: Rc<S>,
    middleware: AuditMiddleware,
}

impl<S, B> Service<ServiceRequest> for AuditMiddlewareService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Future = LocalFuture<ServiceResponse<B>>;

    forward_ready!(inner);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let inner = Rc::clone(&self.inner);
        let middleware = self.middleware.clone();
        Box::pin(async move {
            // `request()` does not exist in actix-web 4.0.
            let (parts, _) = request.parts_mut();
            let actor = (middleware.actor)(parts).await?;
            let ctx = middleware.context(actor, parts)?;
            request.extensions_mut().insert(ctx.clone());
            // A service may start its work in `call`, so that runs in the scope too.
            ctx.scope(async move { inner.call(request).await }).await
        })
    }
}
