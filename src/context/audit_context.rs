use std::net::IpAddr;

use serde::Serialize;

use super::ActorRef;
use crate::base::Error;

/// Who acts in a transaction, and what it belongs to.
///
/// # Example
///
/// ```
/// use threadline::{ActorRef, AuditContext};
///
/// let ctx = AuditContext::new(ActorRef::user("123"))
///     .source("checkout")
///     .correlation_id("order-77")
///     .remote_ip([192, 0, 2, 7].into())
///     .meta(serde_json::json!({"campaign": "spring"}));
/// assert!(ctx.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct AuditContext {
    actor: ActorRef,
    claims: Claims,
}

/// All but the actor: the JSON of the setting `threadline.context`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Claims {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<serde_json::Value>,
}

/// Bytes that an id or source may have.
const MAX_LENGTH: usize = 256;

impl AuditContext {
    /// A context that says who acts and nothing else.
    pub fn new(actor: ActorRef) -> Self {
        Self {
            actor,
            claims: Claims::default(),
        }
    }

    /// Where the work comes from: the name of an application, a route, a command. At most 256 bytes.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.claims.source = Some(source.into());
        self
    }

    /// What ties together the transactions of one business process. At most 256 bytes.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.claims.correlation_id = Some(id.into());
        self
    }

    /// The request that caused the transaction. At most 256 bytes.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.claims.request_id = Some(id.into());
        self
    }

    /// The background job that caused the transaction. At most 256 bytes.
    pub fn job_id(mut self, id: impl Into<String>) -> Self {
        self.claims.job_id = Some(id.into());
        self
    }

    /// The address of the client that asked for the work.
    pub fn remote_ip(mut self, address: IpAddr) -> Self {
        self.claims.remote_ip = Some(address);
        self
    }

    /// Whatever else is worth keeping.
    pub fn meta(mut self, meta: serde_json::Value) -> Self {
        self.claims.meta = Some(meta);
        self
    }

    /// The actor given to [`new`](Self::new).
    pub fn actor(&self) -> &ActorRef {
        &self.actor
    }

    #[cfg(any(feature = "async", feature = "sync"))]
    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Checks what no type can: a transaction does it too, before it sends anything.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidActor`] for the actor; [`Error::InvalidContext`] if an id or source is longer than
    /// 256 bytes, or if anything holds the character NUL, which PostgreSQL cannot store.
    pub fn validate(&self) -> Result<(), Error> {
        self.actor.validate()?;
        let Claims {
            source,
            correlation_id,
            request_id,
            job_id,
            remote_ip: _,
            meta,
        } = &self.claims;
        for (name, value) in [
            ("source", source),
            ("correlation_id", correlation_id),
            ("request_id", request_id),
            ("job_id", job_id),
        ] {
            let value = value.as_deref().unwrap_or_default();
            if value.len() > MAX_LENGTH {
                let length = value.len();
                return Err(Error::InvalidContext(format!(
                    "{name} has {length} bytes, and at most {MAX_LENGTH} are kept"
                )));
            }
            if value.contains('\0') {
                return Err(Error::InvalidContext(format!(
                    "{name} holds the character NUL"
                )));
            }
        }
        if meta.as_ref().is_some_and(holds_nul) {
            return Err(Error::InvalidContext(
                "meta holds the character NUL".to_owned(),
            ));
        }
        Ok(())
    }
}

fn holds_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(items) => items.iter().any(holds_nul),
        serde_json::Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name.contains('\0') || holds_nul(value)),
        serde_json::Value::String(text) => text.contains('\0'),
        _ => false,
    }
}
