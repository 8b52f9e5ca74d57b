//! Work on the record and by it, on a connection.

mod restore;

pub use restore::{Restore, RestoreQuery, Restored, Restores};
