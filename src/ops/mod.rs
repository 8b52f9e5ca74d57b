//! Operations on the audit log that run on a connection: baseline, purge, redaction, restore,
//! export, checks and upgrades. See the guides [`production`](crate::guide::production),
//! [`existing_tables`](crate::guide::existing_tables), [`redaction`](crate::guide::redaction) and
//! [`retention`](crate::guide::retention).

mod baseline;
mod check;
#[cfg(feature = "export")]
mod export;
mod pace;
mod progress;
mod purge;
mod redact;
mod refresh;
mod restore;
mod steps;
mod upgrade;

pub use baseline::{Baseline, BaselineReport, baseline};
pub use check::{
    Check, ChecksCoverage, ChecksHealth, Health, LogStats, assert_audited, assert_covered,
    check_health,
};
#[cfg(feature = "export")]
pub use export::{
    Export, ExportFile, ExportFormat, ExportProgress, ExportReport, Exports, ExportsFiles, Manifest,
};
pub use progress::{Progress, ProgressUnit};
pub use purge::{Purge, PurgeReport, purge};
pub use redact::{Redaction, RedactionPlan, RedactionReport, redact};
pub use refresh::{Refresh, RefreshReport, refresh};
pub use restore::{Restore, RestoreQuery, RestoreReport, Restores};
pub use steps::{RunsSteps, Steps};
pub use upgrade::{Upgrade, UpgradeReport, upgrade};
