#![doc = include_str!("../README.md")]
//!
//! # Where to find things
//!
//! | to | see |
//! |---|---|
//! | create the schema | [`MIGRATIONS`] |
//! | choose what is audited | `#[derive(`[`Audited`](macro@Audited)`)]`, [`TableSpec`], [`capture::install`] |
//! | name the actor | [`ActorRef`], [`AuditContext`] |
//! | run an audited transaction | [`AuditedConnection`], [`AsyncAuditedConnection`] |
//! | record an action, with a reason | [`NewAction`] |
//! | run a transaction far from the code that knows the context | [`AuditContext::scope`], [`AuditedConnection::audited`] |
//! | pass the context to a background job | [`AuditContext::to_job_args`], [`AuditContext::from_job_args`] |
//! | read the history of a row or table | [`AuditedDsl::history`], [`Version`], the columns in [`change`] |
//! | page through the changes of all tables, with filters | [`timeline`], [`TimelineEntry`] |
//! | read one table's changes as its model, or one row's changes with their actions | [`AuditedDsl::timeline`], [`AuditedDsl::story`] |
//! | list transactions or actions | [`transactions`], [`actions`] |
//! | read filters from a command line or a URL | [`Timeline::params`] |
//! | export changes as CSV, JSON or NDJSON | `Timeline::export` with the feature `export` |
//! | see what a change did to each column | [`Change::diff`], [`Diff`] |
//! | query the past | [`AuditedDsl::as_of`], [`RowAsOf`], [`as_of`], [`as_of_transaction`], [`settled_at`](fn@settled_at) |
//! | restore a row | [`Version::restore`] |
//! | redact values in the audit log | `redact` |
//! | plan retention, and purge old changes | [`retention_plan`], `purge` |
//! | verify that every table is audited as its model declares | [`coverage`], `assert_audited`, `assert_covered` |
//! | see how far back each table is known, and record the rows that existed before capture | [`continuity`], `baseline` |
//! | monitor capture and the size of the audit log | [`health`], `check_health`, `LogStats` |
//! | update a database after a new release, or a table after a schema change | `refresh`, `upgrade` |
//! | audit the requests of a web application | [`web`] |
//! | read a guide | [`guide`] |
//! | query the tables directly | [`schema`] |
//!
//! Each module uses only the modules before it in this list: [`base`], [`capture`], [`context`],
//! [`query`], [`ops`], [`web`].
#![cfg_attr(docsrs, feature(doc_cfg))]

// The code that the derive macro generates names `::threadline`, also in this crate's own tests and
// examples.
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

/// Re-exports for the code that `#[derive(Audited)]` generates.
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
