//! The rows that queries load: a struct for each kind of row, and the columns it is loaded from.

mod action;
mod change;
pub mod columns;
pub(super) mod cursor;
mod diff;
pub(super) mod entry;
mod json;
pub(super) mod mask_named;
mod op;
pub(super) mod past_rows;
pub(super) mod transaction;
mod version;

pub use action::Action;
pub use change::Change;
pub use columns::ChangeSource;
pub use cursor::{ActionCursor, TimelineCursor, TransactionCursor};
pub use diff::{ColumnDiff, Diff, PathDiff};
pub use entry::TimelineEntry;
pub use json::Json;
pub use op::Op;
pub use transaction::AuditTransaction;
pub use version::Version;
