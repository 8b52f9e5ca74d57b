//! Capture: installs the triggers that record changes, as the table specifications declare.
//!
//! The database function `threadline.audit_table` does the work. A migration or a person at `psql`
//! can call it too.

#[cfg(feature = "__connection")]
pub use crate::model::{Install, install};
