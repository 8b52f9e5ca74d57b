use super::health::Health;

/// Counts a health check and reports its outcome: the number of problems, but not their text.
pub(super) fn health_checked(health: &Health) {
    #[cfg(feature = "tracing")]
    {
        let errors = health.problems.iter();
        let errors = errors.filter(|p| p.severity == crate::query::Severity::Error);
        let errors = errors.count();
        tracing::info!(
            errors,
            warnings = health.problems.len() - errors,
            "threadline.health checked"
        );
    }
    #[cfg(feature = "metrics")]
    {
        let status = health.worst().map_or("ok", crate::query::Severity::as_str);
        metrics::counter!("threadline.health.checked", "status" => status).increment(1);
    }
    #[cfg(not(any(feature = "metrics", feature = "tracing")))]
    let _ = health;
}
