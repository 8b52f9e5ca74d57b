//! Work on the record and by it, on a connection.
#![doc = include_str!("../../docs/production.md")]
#![doc = include_str!("../../docs/brownfield.md")]
#![doc = include_str!("../../docs/redaction.md")]
#![doc = include_str!("../../docs/retention.md")]
#![allow(
    clippy::test_attr_in_doctest,
    reason = "tests of applications are what is shown"
)]

#[cfg(any(feature = "async", feature = "sync"))]
mod baseline;
#[cfg(any(feature = "async", feature = "sync"))]
mod coverage;
#[cfg(any(feature = "async", feature = "sync"))]
mod coverage_check;
#[cfg(all(feature = "export", any(feature = "async", feature = "sync")))]
mod export;
#[cfg(all(feature = "export", feature = "async"))]
mod export_async;
#[cfg(all(feature = "export", any(feature = "async", feature = "sync")))]
mod export_change;
#[cfg(all(feature = "export", any(feature = "async", feature = "sync")))]
mod export_encoder;
#[cfg(all(feature = "export", any(feature = "async", feature = "sync")))]
mod export_files;
#[cfg(all(feature = "export", any(feature = "async", feature = "sync")))]
mod export_job;
#[cfg(all(feature = "export", feature = "sync"))]
mod export_sync;
#[cfg(any(feature = "async", feature = "sync"))]
mod health;
#[cfg(any(feature = "async", feature = "sync"))]
mod health_check;
#[cfg(any(feature = "async", feature = "sync"))]
mod purge;
#[cfg(any(feature = "async", feature = "sync"))]
mod redact;
#[cfg(any(feature = "async", feature = "sync"))]
mod redact_steps;
#[cfg(any(feature = "async", feature = "sync"))]
mod restore;
#[cfg(any(feature = "async", feature = "sync"))]
mod steps;
#[cfg(any(feature = "async", feature = "sync"))]
mod telemetry;

#[cfg(any(feature = "async", feature = "sync"))]
pub use baseline::{Baseline, BaselineProgress, BaselineReport, baseline};
#[cfg(any(feature = "async", feature = "sync"))]
pub use coverage::{ChecksCoverage, assert_audited, assert_covered};
#[cfg(any(feature = "async", feature = "sync"))]
pub use coverage_check::Check;
#[cfg(all(feature = "export", any(feature = "async", feature = "sync")))]
pub use export::{Export, ExportFormat, ExportProgress, ExportReport, Exports, ExportsFiles};
#[cfg(all(feature = "export", any(feature = "async", feature = "sync")))]
pub use export_files::{ExportFile, Manifest};
#[cfg(any(feature = "async", feature = "sync"))]
pub use health::{ChecksHealth, check_health};
#[cfg(any(feature = "async", feature = "sync"))]
pub use health_check::{Health, LogStats};
#[cfg(any(feature = "async", feature = "sync"))]
pub use purge::{Purge, PurgeReport, purge};
#[cfg(any(feature = "async", feature = "sync"))]
pub use redact::{Redaction, RedactionPlan, RedactionProgress, RedactionReport, redact};
#[cfg(any(feature = "async", feature = "sync"))]
pub use restore::{Restore, RestoreQuery, RestoreReport, Restores};
#[cfg(any(feature = "async", feature = "sync"))]
pub use steps::{RunsSteps, Steps};
