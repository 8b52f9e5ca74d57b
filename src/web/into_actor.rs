use crate::context::ActorRef;

/// What a function may answer to the question who acts; `R` is what a request is answered with when nobody may.
///
/// - [`ActorRef`]: this one.
/// - `Option<ActorRef>`: `None` is [`ActorRef::anonymous`].
/// - `Result<_, R>` of either: `Err` answers the request, and no handler sees it. For [`AuditLayer`](super) `R` is the
///   response of the service, for [`AuditMiddleware`](super) it is `actix_web::Error`.
/// - `Result<_, http::StatusCode>`, for `AuditLayer`: the answer is that and an empty body.
///
/// # Example
///
/// A type of your own can be one too.
///
/// ```
/// use threadline::ActorRef;
/// use threadline::web::IntoActor;
///
/// struct Login { user_id: i64 }
///
/// impl<R> IntoActor<R> for Login {
///     fn into_actor(self) -> Result<ActorRef, R> {
///         Ok(ActorRef::user(self.user_id.to_string()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say who acts",
    label = "the function that is asked who acts returns `{Self}`",
    note = "return `ActorRef`, `Option<ActorRef>` (`None` is anonymous), or a `Result` of either whose error is the answer to the request",
    note = "an async function goes into `with_async_actor`"
)]
pub trait IntoActor<R> {
    /// Who acts.
    ///
    /// # Errors
    ///
    /// The answer to a request that is not to be served.
    fn into_actor(self) -> Result<ActorRef, R>;
}

impl<R> IntoActor<R> for ActorRef {
    fn into_actor(self) -> Result<ActorRef, R> {
        Ok(self)
    }
}

impl<R> IntoActor<R> for Option<ActorRef> {
    fn into_actor(self) -> Result<ActorRef, R> {
        Ok(self.unwrap_or_else(ActorRef::anonymous))
    }
}

impl<R, A: IntoActor<R>> IntoActor<R> for Result<A, R> {
    fn into_actor(self) -> Result<ActorRef, R> {
        self.and_then(IntoActor::into_actor)
    }
}
