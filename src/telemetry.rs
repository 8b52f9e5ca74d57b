//! Output of the features `tracing` and `metrics`; without these features there is none. It never
//! contains row values, reasons, comments or actor ids, because logs are kept and read by other
//! people than the audit log.

/// A span; empty without the feature `tracing`.
#[cfg(feature = "__connection")]
pub(crate) struct Span(#[cfg(feature = "tracing")] pub(crate) tracing::Span);

#[cfg(feature = "__connection")]
#[cfg_attr(
    not(feature = "tracing"),
    expect(clippy::unused_self, reason = "there is no span then")
)]
impl Span {
    /// A span for an operation on the audit log. `table` is `None` for several tables.
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

/// Reports that a query was built. Diesel runs it, and Diesel's `Instrumentation` observes that.
pub(crate) fn query(name: &'static str, table: Option<&str>) {
    #[cfg(feature = "tracing")]
    tracing::debug!(name, table, "threadline.query");
    #[cfg(not(feature = "tracing"))]
    let _ = (name, table);
}
