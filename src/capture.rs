//! What is audited: brings the database's capture in line with table specifications.
//!
//! All the work is done by `threadline.audit_table` in the database, which a migration or a person at `psql` may
//! call just as well.

#[cfg(feature = "__connection")]
pub use crate::model::{Install, install};
