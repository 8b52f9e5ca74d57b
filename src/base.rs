//! Errors, table specifications and the migrations.

pub use crate::error::Error;
pub use crate::finding::Finding;
pub use crate::migrations::MIGRATIONS;
pub use crate::model::{Granularity, TableSpec};
