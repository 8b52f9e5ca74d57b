use super::AuditContext;

tokio::task_local! {
    static CURRENT: AuditContext;
}

/// An ambient context: all code that runs in its scope can read it, so you do not have to pass it.
///
/// Prefer to pass the context explicitly, where a reader of the code can see it. A scope is for
/// code far from the request handler that calls [`audited`](crate::AuditedConnection::audited). The
/// web layers open a scope for every request.
///
/// A scope belongs to a task, not to the tasks that it spawns. Carry it over:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tokio::task::JoinError> {
/// use threadline::{ActorRef, AuditContext};
///
/// let ctx = AuditContext::new(ActorRef::user("7"));
/// ctx.clone().scope(async {
///     let lost = tokio::spawn(async { AuditContext::current() }).await?;
///     assert_eq!(lost, None);
///     let kept = tokio::spawn(AuditContext::in_current_scope(async { AuditContext::current() })).await?;
///     assert_eq!(kept, Some(ctx));
///     Ok(())
/// }).await
/// # }
/// ```
///
/// For `spawn_blocking` and threads, use
/// `if let Some(ctx) = AuditContext::current() { … ctx.sync_scope(work) … }`.
impl AuditContext {
    /// Returns the context of the innermost scope that the calling code runs in.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs a future in the scope of this context.
    ///
    /// # Cancel safety
    ///
    /// The same as that of the future.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Runs a closure in the scope of this context.
    ///
    /// # Panics
    ///
    /// Only if `work` does.
    ///
    /// # Example
    ///
    /// ```
    /// use threadline::{ActorRef, AuditContext};
    ///
    /// let ctx = AuditContext::new(ActorRef::job("nightly"));
    /// let actor = ctx.sync_scope(|| AuditContext::current().map(|ctx| ctx.actor().clone()));
    /// assert_eq!(actor, Some(ActorRef::job("nightly")));
    /// assert_eq!(AuditContext::current(), None);
    /// ```
    pub fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// Wraps a future that will run elsewhere, so that it runs in the caller's current scope.
    /// Without a scope, the future runs unchanged.
    pub fn in_current_scope<F: Future>(future: F) -> impl Future<Output = F::Output> {
        let current = Self::current();
        async move {
            match current {
                Some(ctx) => ctx.scope(future).await,
                None => future.await,
            }
        }
    }
}
