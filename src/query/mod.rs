//! Reads the audit log with queries that Diesel or diesel-async runs.
//!
//! This module only builds queries; nothing in it holds or takes a connection. See the guide
//! [`querying`](crate::guide::querying).

mod as_of;
mod audited_dsl;
mod history;
mod report;
mod rows;
mod timeline;

pub use as_of::functions as moment;
pub use as_of::{AsOf, LiveTables, RowAsOf, RowAsOfQuery, as_of, as_of_transaction};
pub use audited_dsl::AuditedDsl;
pub use history::{
    And, Columns, History, NewestFirst, Order, OrderedBy, Predicate, Selection, Story, ValidOn,
    Versions,
};
pub use report::{
    BaselineState, CaptureActivity, ContinuityState, CoverageState, HealthProblem, Report,
    RetentionPlan, Severity, StorageUsage, TableContinuity, TableCoverage, capture_activity,
    continuity, coverage, health, retention_plan, storage_usage,
};
pub use rows::columns as change;
pub use rows::{
    Action, ActionCursor, AuditTransaction, Change, ChangeSource, ColumnDiff, Diff, Json, Op,
    PathDiff, TimelineCursor, TimelineEntry, TransactionCursor, Version,
};
#[cfg(all(feature = "export", feature = "__connection"))]
pub(crate) use timeline::TimelinePage;
pub use timeline::{
    Actions, JsonRows, ModelRows, Recorded, RecordedRows, Timeline, TimelineCount, Transactions,
    action, actions, timeline, transaction, transactions,
};

pub use crate::model::{AllRows, Audited, IntoKey, KeyArgs, KeyColumn, Maskable};
