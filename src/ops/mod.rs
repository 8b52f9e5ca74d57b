//! Work on the record and by it, on a connection. The guides [`production`](crate::guide::production),
//! [`brownfield`](crate::guide::brownfield), [`redaction`](crate::guide::redaction) and
//! [`retention`](crate::guide::retention) show it.

mod baseline;
mod coverage;
mod coverage_check;
#[cfg(feature = "export")]
mod export;
#[cfg(all(feature = "export", feature = "async"))]
mod export_async;
#[cfg(feature = "export")]
mod export_change;
#[cfg(feature = "export")]
mod export_encoder;
#[cfg(feature = "export")]
mod export_files;
#[cfg(feature = "export")]
mod export_job;
#[cfg(all(feature = "export", feature = "sync"))]
mod export_sync;
mod health;
mod health_check;
mod purge;
mod redact;
mod redact_steps;
mod restore;
mod steps;
mod telemetry;

pub use baseline::{Baseline, BaselineProgress, BaselineReport, baseline};
pub use coverage::{ChecksCoverage, assert_audited, assert_covered};
pub use coverage_check::Check;
#[cfg(feature = "export")]
pub use export::{Export, ExportFormat, ExportProgress, ExportReport, Exports, ExportsFiles};
#[cfg(feature = "export")]
pub use export_files::{ExportFile, Manifest};
pub use health::{ChecksHealth, check_health};
pub use health_check::{Health, LogStats};
pub use purge::{Purge, PurgeReport, purge};
pub use redact::{Redaction, RedactionPlan, RedactionProgress, RedactionReport, redact};
pub use restore::{Restore, RestoreQuery, RestoreReport, Restores};
pub use steps::{RunsSteps, Steps};
