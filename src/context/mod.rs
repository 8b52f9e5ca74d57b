//! Who acts, why, and the transaction that carries both to the triggers.

mod actor;
#[cfg(feature = "ambient")]
mod ambient;
#[cfg(feature = "async")]
mod async_transaction;
mod audit_context;
mod job_args;
#[cfg(any(feature = "async", feature = "sync"))]
mod settings;
#[cfg(feature = "sync")]
mod transaction;

pub use actor::{ActorRef, ActorType};
#[cfg(feature = "async")]
pub use async_transaction::{AsyncAuditedConnection, AsyncFn1};
pub use audit_context::AuditContext;
#[cfg(feature = "sync")]
pub use transaction::AuditedConnection;
