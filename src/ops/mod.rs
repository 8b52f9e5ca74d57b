//! Work on the record and by it, on a connection.

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
mod restore;

#[cfg(all(feature = "export", any(feature = "async", feature = "sync")))]
pub use export::{Export, ExportFormat, ExportProgress, Exported, Exports, ExportsFiles};
#[cfg(all(feature = "export", any(feature = "async", feature = "sync")))]
pub use export_files::{ExportFile, Manifest};
#[cfg(any(feature = "async", feature = "sync"))]
pub use restore::{Restore, RestoreQuery, Restored, Restores};
