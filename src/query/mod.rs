//! Reading the record: queries that are built here and run by Diesel or diesel-async.
//!
//! Nothing in this module holds or takes a connection.

mod audited;
pub mod change;
mod history;
mod history_dsl;
mod key;
mod maskable;
mod past_table;
mod recorded_change;
mod selection;
mod version;

pub use audited::Audited;
pub use history::{Both, History, NewestFirst, Order, OrderedBy, Predicate, StandsOn, VersionsOf};
pub use key::{EveryRow, IntoKey, KeyOf};
pub use maskable::Maskable;
pub use recorded_change::{Change, Op};
pub use selection::{Raw, Selection, Versions};
pub use version::Version;
