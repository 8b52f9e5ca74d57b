//! Who acts, why, and the transaction that carries both to the triggers.
//!
//! The guide [`context`](crate::guide::context) shows it.

#[cfg(feature = "__connection")]
mod action;
mod actor;
#[cfg(feature = "ambient")]
mod ambient;
#[cfg(feature = "async")]
mod async_transaction;
mod audit_context;
mod job_args;
#[cfg(feature = "__connection")]
mod record;
#[cfg(feature = "__connection")]
mod settings;
#[cfg(feature = "__connection")]
mod telemetry;
#[cfg(feature = "sync")]
mod transaction;

#[cfg(feature = "__connection")]
pub use action::{ActionReceipt, ActionStatus, NewAction};
pub use actor::{ActorRef, ActorType};
#[cfg(feature = "async")]
pub(crate) use async_transaction::depth as async_depth;
#[cfg(feature = "async")]
pub use async_transaction::{AsyncAuditedConnection, AsyncFn1};
pub use audit_context::AuditContext;
#[cfg(any(feature = "tower", feature = "actix-web"))]
pub(crate) use audit_context::MAX_LENGTH;
#[cfg(feature = "__connection")]
pub use record::Records;
#[cfg(feature = "sync")]
pub use transaction::AuditedConnection;
#[cfg(feature = "sync")]
pub(crate) use transaction::depth;
