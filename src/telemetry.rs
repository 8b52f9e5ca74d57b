//! What the features `tracing` and `metrics` tell; without them, nothing. No value of a row, no reason, no comment and no
//! id of an actor is told: logs are kept and read by others than the audit log.

/// A span, or nothing.
#[cfg(feature = "__connection")]
pub(crate) struct Span(#[cfg(feature = "tracing")] pub(crate) tracing::Span);

#[cfg(feature = "__connection")]
#[cfg_attr(
    not(feature = "tracing"),
    expect(clippy::unused_self, reason = "there is no span then")
)]
impl Span {
    /// Work on the audit log, on one table or on several.
    pub(crate) fn operation(name: &'static str, table: Option<&str>) -> Self {
        #[cfg(feature = "tracing")]
        return Self(tracing::info_span!("threadline.operation", name, table));
        #[cfg(not(feature = "tracing"))]
        {
            let _ = (name, table);
            Self()
        }
    }

    #[cfg(feature = "sync")]
    pub(crate) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        return self.0.in_scope(work);
        #[cfg(not(feature = "tracing"))]
        work()
    }

    #[cfg(feature = "async")]
    pub(crate) fn instrument<F: Future>(
        &self,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        #[cfg(feature = "tracing")]
        return tracing::Instrument::instrument(future, self.0.clone());
        #[cfg(not(feature = "tracing"))]
        future
    }
}

/// Diesel runs queries, and its `Instrumentation` sees that; here is told that one was made.
pub(crate) fn query(name: &'static str, table: Option<&str>) {
    #[cfg(feature = "tracing")]
    tracing::debug!(name, table, "threadline.query");
    #[cfg(not(feature = "tracing"))]
    let _ = (name, table);
}
