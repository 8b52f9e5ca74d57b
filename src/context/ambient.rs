use super::AuditContext;

tokio::task_local! {
    static CURRENT: AuditContext;
}

/// A context that need not be passed: it is there for all that runs in its scope.
///
/// Passing it is the plainer way, and what a reader of the code can see. A scope is for code far from the handler of
/// a request that calls [`audited`](crate::AuditedConnection::audited), and the web layers open one for every request.
///
/// A scope belongs to a task and not to what that task spawns. Carry it over:
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
/// For `spawn_blocking` and threads it is `if let Some(ctx) = AuditContext::current() { … ctx.sync_scope(work) … }`.
impl AuditContext {
    /// The context of the innermost scope that the running code is in.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs a future in the scope of this context.
    ///
    /// # Cancel safety
    ///
    /// That of the future.
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

    /// Takes the scope that the caller is in along with a future that is to run elsewhere; without one, leaves it as it is.
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
