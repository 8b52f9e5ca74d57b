//! Reading the record: queries that are built here and run by Diesel or diesel-async.
//!
//! Nothing in this module holds or takes a connection.

mod as_of;
mod as_of_dsl;
mod audited;
pub mod change;
mod diff;
mod history;
mod history_dsl;
mod key;
mod live;
mod maskable;
pub mod moment;
mod past_table;
mod recorded_change;
mod relations;
mod rewrite;
mod row_as_of;
mod row_as_of_query;
mod selection;
mod timeline;
mod timeline_entry;
mod tokens;
mod version;

pub use as_of::{AsOf, as_of, as_of_transaction};
pub use audited::Audited;
pub use diff::{Diff, FieldDiff, PathDiff};
pub use history::{Both, History, NewestFirst, Order, OrderedBy, Predicate, StandsOn, VersionsOf};
pub use key::{EveryRow, IntoKey, KeyOf};
pub use live::LiveTables;
pub use maskable::Maskable;
pub use recorded_change::{Change, Op};
pub use row_as_of::RowAsOf;
pub use row_as_of_query::RowAsOfQuery;
pub use selection::{Raw, Selection, Versions};
pub use timeline::{Timeline, TimelineCount, timeline};
pub use timeline_entry::{Action, Cursor, TimelineEntry};
pub use version::Version;
