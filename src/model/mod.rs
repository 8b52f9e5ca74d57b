//! What is audited: models, the specifications of their tables, their keys, and putting them under capture.

mod audited;
#[cfg(feature = "__connection")]
mod install;
mod key;
mod maskable;
mod spec;

pub use audited::Audited;
#[cfg(feature = "__connection")]
pub use install::{Install, install};
pub use key::{AllRows, IntoKey, KeyArgs, KeyColumn};
pub use maskable::Maskable;
pub use spec::{Granularity, TableSpec};
