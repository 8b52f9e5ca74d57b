//! What is audited: models, table specifications and keys, and the installation of capture.

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
