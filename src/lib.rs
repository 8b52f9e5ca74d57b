#![doc = include_str!("../README.md")]
//!
//! # Where to find things
//!
//! | to | see |
//! |---|---|
//! | create the schema | [`MIGRATIONS`] |
//! | say what is audited | `#[derive(`[`Audited`](macro@Audited)`)]`, [`TableSpec`], [`capture::install`] |
//! | say who acts | [`ActorRef`], [`AuditContext`] |
//! | act | [`AuditedConnection`], [`AsyncAuditedConnection`] |
//! | say what was meant by it, and why | [`NewAction`] |
//! | act far from where the context is known | [`AuditContext::scope`], [`AuditedConnection::audited`] |
//! | act later, in a background job | [`AuditContext::to_job_args`], [`AuditContext::from_job_args`] |
//! | read a history | [`AuditedDsl::history`], [`Version`], the columns in [`change`] |
//! | read the changes of all tables, filtered, a page at a time | [`timeline`], [`TimelineEntry`] |
//! | read those of one table as its model, or one row's with what was meant | [`AuditedDsl::timeline`], [`AuditedDsl::story`] |
//! | read who did what, by transaction or by action | [`transactions`], [`actions`] |
//! | take filters from a command line or a URL | [`Timeline::params`] |
//! | write them out as CSV, JSON or NDJSON | `Timeline::export` with the feature `export` |
//! | see what a change did, column by column | [`Change::diff`], [`Diff`] |
//! | read the past | [`AuditedDsl::as_of`], [`RowAsOf`], [`as_of`], [`as_of_transaction`], [`settled_at`](fn@settled_at) |
//! | bring a row back | [`Version::restore`] |
//! | take values out of the audit log | `redact` |
//! | say how long it is kept, and remove what is older | [`retention_plan`], `purge` |
//! | see that every table is audited, as the models say | [`coverage`], `assert_audited`, `assert_covered` |
//! | see since when a table is known, and record the rows it had before | [`continuity`], `baseline` |
//! | see that capture works, and how the audit log grows | [`health`], `check_health`, `LogStats` |
//! | bring a database up to date after a new version, or a table after a change of it | `refresh`, `upgrade` |
//! | act for the requests of a web application | [`web`] |
//! | read a guide | [`guide`] |
//! | read the tables yourself | [`schema`] |
//!
//! Each module uses only those above it in this list: [`base`], [`capture`], [`context`], [`query`],
//! [`ops`], [`web`].
#![cfg_attr(docsrs, feature(doc_cfg))]

// The derive macro writes paths that begin with `::threadline`, also in this crate's own tests and examples.
extern crate self as threadline;

pub mod base;
pub mod capture;
pub mod context;
mod error;
mod finding;
pub mod guide;
pub mod migrations;
mod model;
#[cfg(feature = "__connection")]
pub mod ops;
pub mod prelude;
pub mod query;
pub mod schema;
mod setters;
mod sql;
mod telemetry;
mod text_enum;
#[cfg(any(feature = "tower", feature = "actix-web"))]
pub mod web;

/// For the code that `#[derive(Audited)]` writes.
#[doc(hidden)]
pub mod __private {
    pub use diesel;
}

#[cfg(feature = "async")]
pub use context::AsyncAuditedConnection;
#[cfg(feature = "sync")]
pub use context::AuditedConnection;
#[cfg(all(feature = "metrics", feature = "__connection"))]
pub use context::count_changed_tables;
#[cfg(feature = "__connection")]
pub use context::{ActionReceipt, NewAction};
pub use context::{ActionStatus, ActorRef, ActorType, AuditContext};
pub use error::Error;
pub use finding::Finding;
pub use migrations::MIGRATIONS;
pub use model::{Audited, Granularity, Maskable, TableSpec};
#[cfg(feature = "__connection")]
pub use ops::{
    Baseline, BaselineReport, Health, LogStats, Progress, ProgressUnit, Purge, PurgeReport,
    Redaction, RedactionPlan, RedactionReport, Refresh, RefreshReport, Restore, RestoreReport,
    Upgrade, UpgradeReport, assert_audited, assert_covered, baseline, check_health, purge, redact,
    refresh, upgrade,
};
#[cfg(all(feature = "export", feature = "__connection"))]
pub use ops::{Export, ExportFile, ExportFormat, ExportProgress, ExportReport, Manifest};
pub use query::moment::{after_transaction, before_transaction, settled_at};
pub use query::{
    Action, ActionCursor, Actions, AsOf, AuditTransaction, AuditedDsl, BaselineState,
    CaptureActivity, Change, ColumnDiff, ContinuityState, CoverageState, Diff, HealthProblem,
    History, Op, PathDiff, Report, RetentionPlan, RowAsOf, Severity, StorageUsage, TableContinuity,
    TableCoverage, Timeline, TimelineCursor, TimelineEntry, TransactionCursor, Transactions,
    Version, action, actions, as_of, as_of_transaction, capture_activity, change, continuity,
    coverage, health, retention_plan, storage_usage, timeline, transaction, transactions,
};
pub use threadline_derive::Audited;
