#[cfg(feature = "metrics")]
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "metrics")]
use diesel::{dsl::sql, expression::SqlLiteral, sql_types::Integer};

#[cfg(feature = "metrics")]
use super::transaction::TRANSACTION_ID;
use super::{ActionReceipt, AuditContext, NewAction};
use crate::telemetry::Span;

/// A run-time switch, because any crate in the dependency graph can turn on the feature.
#[cfg(feature = "metrics")]
static COUNTS_CHANGED_TABLES: AtomicBool = AtomicBool::new(false);

/// Sets whether every audited transaction of this program counts the tables it changed.
///
/// The counts go into the histogram `threadline.transaction.table_count`, which otherwise stays
/// empty. Only the server knows them, so each transaction queries them before its `COMMIT`, at the
/// cost of one more round trip. Call this function when the program starts. The guide
/// [`telemetry`](crate::guide::telemetry) lists all metrics.
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

/// Returns the query for the number of tables that the running transaction has changed, if counting
/// is on. The capture functions keep a list in the session: the id of the transaction, then the ids
/// of the tables, each followed by a comma.
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

/// Reports how a transaction ended, within its span.
pub(super) fn transaction_ended(committed: bool) {
    #[cfg(feature = "tracing")]
    tracing::debug!(committed, "threadline.transaction ended");
    #[cfg(not(feature = "tracing"))]
    let _ = committed;
}

/// Counts a database transaction, and the tables it changed if their number is known.
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
