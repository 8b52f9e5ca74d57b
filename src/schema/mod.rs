//! The tables and views of the audit log, for your own queries.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::doc_markdown,
    clippy::wildcard_imports,
    rustdoc::broken_intra_doc_links,
    reason = "written by `diesel print-schema`, out of the comments in the database"
)]
mod tables;
#[allow(missing_docs, reason = "`table!` writes modules without")]
mod views;

/// The schema `threadline` of the database.
pub mod threadline {
    pub use super::tables::threadline::*;
    pub use super::views::*;
}
