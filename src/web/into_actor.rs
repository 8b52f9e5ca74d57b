use crate::context::ActorRef;

/// A return type of the function that finds the actor of a request. `R` is the answer to a request
/// that is refused.
///
/// - [`ActorRef`]: this actor.
/// - `Option<ActorRef>`: `None` means [`ActorRef::anonymous`].
/// - `Result<_, R>` of either: `Err` answers the request, and no handler runs. For
///   [`AuditLayer`](super), `R` is the response of the service; for [`AuditMiddleware`](super), it
///   is `actix_web::Error`.
/// - `Result<_, http::StatusCode>`, for `AuditLayer`: `Err` answers with this status and an empty
///   body.
///
/// # Example
///
/// You can implement it for a type of your own:
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
    /// Returns the actor.
    ///
    /// # Errors
    ///
    /// The answer to a request that is refused.
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
