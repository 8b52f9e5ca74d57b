//! Work on the record and by it, on a connection.

#[cfg(any(feature = "async", feature = "sync"))]
mod restore;

#[cfg(any(feature = "async", feature = "sync"))]
pub use restore::{Restore, RestoreQuery, Restored, Restores};
