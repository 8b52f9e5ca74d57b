//! Actors, contexts and actions, and the audited transaction that passes them to the triggers.
//!
//! See the guide [`context`](crate::guide::context).

#[cfg(feature = "__connection")]
mod action;
mod action_status;
mod actor;
#[cfg(feature = "ambient")]
mod ambient;
#[cfg(feature = "__connection")]
mod attribution;
mod audit_context;
mod job_args;
#[cfg(feature = "__connection")]
mod record;
#[cfg(feature = "__connection")]
mod telemetry;
#[cfg(feature = "__connection")]
mod transaction;

pub use action_status::ActionStatus;
pub use actor::{ActorRef, ActorType};
#[cfg(feature = "__connection")]
pub(crate) use attribution::Attribution;
pub use audit_context::AuditContext;
#[cfg(any(feature = "tower", feature = "actix-web"))]
pub(crate) use audit_context::MAX_LENGTH;
#[cfg(all(feature = "metrics", feature = "__connection"))]
pub use telemetry::count_changed_tables;
#[cfg(feature = "async")]
pub(crate) use transaction::asynchronous::depth as async_depth;
#[cfg(feature = "async")]
pub use transaction::asynchronous::{AsyncAuditedConnection, AsyncFn1};
#[cfg(feature = "sync")]
pub use transaction::sync::AuditedConnection;
#[cfg(feature = "sync")]
pub(crate) use transaction::sync::depth;
#[cfg(feature = "__connection")]
pub use {
    action::{ActionReceipt, NewAction},
    record::Records,
};
