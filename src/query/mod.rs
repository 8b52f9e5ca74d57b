//! Reading the record: queries that are built here and run by Diesel or diesel-async.
//!
//! Nothing in this module holds or takes a connection.
#![doc = include_str!("../../docs/exploration.md")]

mod actions;
mod as_of;
mod as_of_dsl;
mod audit_transaction;
mod audited;
pub mod change;
mod continuity;
mod coverage;
mod cursor;
mod diff;
#[cfg(all(feature = "export", any(feature = "async", feature = "sync")))]
mod export_page;
mod figures;
mod filter;
mod health;
mod history;
mod history_dsl;
mod json;
mod key;
mod live;
mod maskable;
pub mod moment;
mod params;
mod past_table;
mod recorded_action;
mod recorded_change;
mod recorded_rows;
mod relations;
mod report;
mod retention;
mod rewrite;
mod row_as_of;
mod row_as_of_query;
mod selection;
mod timeline;
mod timeline_dsl;
mod timeline_entry;
mod timeline_page;
mod tokens;
mod transactions;
mod version;

pub use actions::{Actions, action, actions};
pub use as_of::{AsOf, as_of, as_of_transaction};
pub use audit_transaction::AuditTransaction;
pub use audited::Audited;
pub use continuity::{BaselineState, ContinuityState, TableContinuity, continuity};
pub use coverage::{CoverageState, TableCoverage, coverage};
pub use cursor::{ActionCursor, TimelineCursor, TransactionCursor};
pub use diff::{ColumnDiff, Diff, PathDiff};
#[cfg(all(feature = "export", any(feature = "async", feature = "sync")))]
pub(crate) use export_page::{ExportPage, ExportRow};
pub use figures::{CaptureActivity, StorageUsage, capture_activity, storage_usage};
#[cfg(any(feature = "async", feature = "sync"))]
pub(crate) use health::health_of_tables;
pub use health::{HealthProblem, Severity, health};
pub use history::{And, ChangeSource, History, NewestFirst, Order, OrderedBy, Predicate, ValidOn};
pub use json::Json;
pub use key::{AllRows, IntoKey, KeyArgs};
pub use live::LiveTables;
pub use maskable::Maskable;
pub use recorded_action::Action;
pub use recorded_change::{Change, Op};
pub use recorded_rows::{JsonRows, ModelRows, Recorded, RecordedRows};
pub use report::Report;
pub use retention::{RetentionPlan, retention_plan};
pub use row_as_of::RowAsOf;
pub use row_as_of_query::RowAsOfQuery;
pub use selection::{Columns, Selection, Story, Versions};
pub use timeline::{Timeline, TimelineCount, timeline};
pub use timeline_entry::TimelineEntry;
pub use transactions::{Transactions, transaction, transactions};
pub use version::Version;
