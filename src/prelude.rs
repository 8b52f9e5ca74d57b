//! What code that audits needs in scope: `use threadline::prelude::*;`

#[cfg(feature = "async")]
pub use crate::context::AsyncAuditedConnection;
#[cfg(any(feature = "async", feature = "sync"))]
pub use crate::context::AuditAction;
#[cfg(feature = "sync")]
pub use crate::context::AuditedConnection;
pub use crate::context::{ActorRef, AuditContext};
pub use crate::query::{Audited, RowAsOf, Version};
pub use threadline_derive::Audited;
