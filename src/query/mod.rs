//! Reading the record: queries that are built here and run by Diesel or diesel-async.
//!
//! Nothing in this module holds or takes a connection.
//! The guide [`exploration`](crate::guide::exploration) shows it.

mod actions;
mod as_of;
mod as_of_dsl;
mod audit_transaction;
mod audited_dsl;
pub mod change;
mod continuity;
mod coverage;
mod cursor;
mod diff;
#[cfg(all(feature = "export", feature = "__connection"))]
mod export_page;
mod figures;
mod filter;
mod health;
mod history;
mod history_dsl;
mod json;
mod live;
pub mod moment;
mod params;
mod recorded_action;
mod recorded_change;
mod recorded_rows;
mod report;
mod retention;
mod row_as_of;
mod row_as_of_query;
mod selection;
mod timeline;
mod timeline_dsl;
mod timeline_entry;
mod timeline_page;
mod transactions;
mod version;

pub use actions::{Actions, action, actions};
pub use as_of::{AsOf, as_of, as_of_transaction};
pub use audit_transaction::AuditTransaction;
pub use audited_dsl::AuditedDsl;
pub use continuity::{BaselineState, ContinuityState, TableContinuity, continuity};
pub use coverage::{CoverageState, TableCoverage, coverage};
pub use cursor::{ActionCursor, TimelineCursor, TransactionCursor};
pub use diff::{ColumnDiff, Diff, PathDiff};
#[cfg(all(feature = "export", feature = "__connection"))]
pub(crate) use export_page::{ExportPage, ExportRow};
pub use figures::{CaptureActivity, StorageUsage, capture_activity, storage_usage};
#[cfg(feature = "__connection")]
pub(crate) use health::health_of_tables;
pub use health::{HealthProblem, Severity, health};
pub use history::{And, ChangeSource, History, NewestFirst, Order, OrderedBy, Predicate, ValidOn};
pub use json::Json;
pub use live::LiveTables;
pub use recorded_action::Action;
pub use recorded_change::{Change, Op};
pub use recorded_rows::{JsonRows, ModelRows, Recorded, RecordedRows};
pub use report::{Report, ReportRow};
pub use retention::{RetentionPlan, retention_plan};
pub use row_as_of::RowAsOf;
pub use row_as_of_query::RowAsOfQuery;
pub use selection::{Columns, Selection, Story, Versions};
pub use timeline::{Timeline, TimelineCount, timeline};
pub use timeline_entry::TimelineEntry;
pub use transactions::{Transactions, transaction, transactions};
pub use version::Version;

pub use crate::model::{AllRows, Audited, IntoKey, KeyArgs, Maskable};
