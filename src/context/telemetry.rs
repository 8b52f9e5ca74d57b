#[cfg(feature = "metrics")]
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "metrics")]
use diesel::{dsl::sql, expression::SqlLiteral, sql_types::Integer};

#[cfg(feature = "metrics")]
use super::transaction::TRANSACTION_ID;
use super::{ActionReceipt, AuditContext, NewAction};
use crate::telemetry::Span;

/// Not a matter of the feature, which a crate far away may turn on.
#[cfg(feature = "metrics")]
static COUNTS_CHANGED_TABLES: AtomicBool = AtomicBool::new(false);

/// Lets every audited transaction of this program count the tables that it changed, or no longer.
///
/// They go into the histogram `threadline.transaction.table_count`, which stays empty otherwise. Only the server knows
/// them, so each transaction asks for them before its `COMMIT`, which is one round trip more. A program calls this when it
/// starts. The guide [`telemetry`](crate::guide::telemetry) names all that is counted.
///
/// # Example
///
/// ```
/// threadline::count_changed_tables(true);
/// ```
#[cfg(feature = "metrics")]
pub fn count_changed_tables(count: bool) {
    COUNTS_CHANGED_TABLES.store(count, Ordering::Relaxed);
}

/// Asks how many tables the running transaction changed, if that is wanted. The capture functions tell it to the session:
/// the ids of the tables stand behind that of the transaction, each with a comma behind it.
#[cfg(feature = "metrics")]
pub(super) fn changed_tables() -> Option<diesel::dsl::select<SqlLiteral<Integer>>> {
    let wanted = COUNTS_CHANGED_TABLES.load(Ordering::Relaxed);
    wanted.then(count_of_changed_tables)
}

#[cfg(feature = "metrics")]
fn count_of_changed_tables() -> diesel::dsl::select<SqlLiteral<Integer>> {
    diesel::select(sql(&format!(
        "CASE WHEN {TRANSACTION_ID} IS NULL THEN 0 ELSE pg_catalog.length(pg_catalog.regexp_replace(\
         pg_catalog.current_setting('threadline.entered', true), '[^,]', '', 'g')) OPERATOR(pg_catalog.-) 1 END"
    )))
}

pub(super) fn transaction_span(ctx: &AuditContext, outer: u32) -> Span {
    #[cfg(feature = "tracing")]
    return {
        let claims = ctx.claims();
        Span(tracing::info_span!(
            "threadline.transaction",
            actor_type = ctx.actor().actor_type().as_str(),
            source = claims.source.as_deref(),
            correlation_id = claims.correlation_id.as_deref(),
            request_id = claims.request_id.as_deref(),
            job_id = claims.job_id.as_deref(),
            nested = outer > 0,
        ))
    };
    #[cfg(not(feature = "tracing"))]
    {
        let _ = (ctx, outer);
        Span()
    }
}

/// Tells how a transaction ended, within its span.
pub(super) fn transaction_ended(committed: bool) {
    #[cfg(feature = "tracing")]
    tracing::debug!(committed, "threadline.transaction ended");
    #[cfg(not(feature = "tracing"))]
    let _ = committed;
}

/// Counts a database transaction, and the tables that it changed if they are known.
#[cfg(feature = "metrics")]
pub(super) fn count_committed(tables: Option<i32>) {
    metrics::counter!("threadline.transaction.committed").increment(1);
    if let Some(tables) = tables {
        metrics::histogram!("threadline.transaction.table_count").record(f64::from(tables));
    }
}

pub(super) fn action_recorded(action: &NewAction, recorded: &ActionReceipt) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        name = action.name(),
        status = action.current_status().as_str(),
        id = %recorded.id,
        transaction_id = %recorded.transaction_id,
        "threadline.action recorded"
    );
    #[cfg(feature = "metrics")]
    metrics::counter!("threadline.action.recorded", "status" => action.current_status().as_str())
        .increment(1);
    #[cfg(not(feature = "tracing"))]
    let _ = (action, recorded);
}
