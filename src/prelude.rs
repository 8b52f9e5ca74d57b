//! The names that most audited code needs: `use threadline::prelude::*;`

#[cfg(feature = "async")]
pub use crate::context::AsyncAuditedConnection;
#[cfg(feature = "sync")]
pub use crate::context::AuditedConnection;
#[cfg(feature = "__connection")]
pub use crate::context::NewAction;
pub use crate::context::{ActorRef, AuditContext};
pub use crate::model::Audited;
pub use crate::query::{AuditedDsl, RowAsOf, Version};
pub use threadline_derive::Audited;
