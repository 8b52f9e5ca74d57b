use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ActorRef;
use crate::error::Error;
use crate::setters::setters;

/// The context of a transaction: its actor, and the request, job or process it belongs to.
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
    claims: ContextFields,
}

/// The fields of a context without the actor: the JSON of the setting `threadline.context`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContextFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) on_behalf_of: Option<ActorRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) meta: Option<serde_json::Value>,
}

/// The maximum length of an id or a source, in bytes.
pub(crate) const MAX_LENGTH: usize = 256;

impl AuditContext {
    /// Creates a context with an actor and no other fields.
    pub fn new(actor: ActorRef) -> Self {
        Self::from_parts(actor, ContextFields::default())
    }

    pub(super) fn from_parts(actor: ActorRef, claims: ContextFields) -> Self {
        Self { actor, claims }
    }

    setters! { claims:
        /// Sets on whose behalf the actor acts, such as the user an administrator has logged in as.
        /// Both are recorded.
        ///
        /// # Example
        ///
        /// ```
        /// use threadline::{ActorRef, AuditContext};
        ///
        /// let ctx = AuditContext::new(ActorRef::admin("support-3")).on_behalf_of(ActorRef::user("123"));
        /// assert_eq!(ctx.actor(), &ActorRef::admin("support-3"));
        /// ```
        fn on_behalf_of(actor: ActorRef);

        /// Sets where the work comes from: the name of an application, a route or a command. At
        /// most 256 bytes.
        fn source(source: impl Into<String>);

        /// Sets the id that the transactions of one business process share. At most 256 bytes.
        fn correlation_id(id: impl Into<String>);

        /// Sets the id of the request that caused the transaction. At most 256 bytes.
        fn request_id(id: impl Into<String>);

        /// Sets the id of the background job that caused the transaction. At most 256 bytes.
        fn job_id(id: impl Into<String>);

        /// Sets the address of the client that requested the work.
        fn remote_ip(address: IpAddr);

        /// Sets further details as JSON. A value of more than 16 KiB is stored in the shortened
        /// form `{"shortened": ["meta"], "text": …}`.
        fn meta(meta: serde_json::Value);
    }

    /// Returns the actor given to [`new`](Self::new).
    pub fn actor(&self) -> &ActorRef {
        &self.actor
    }

    /// Returns the context of the current [scope](Self::scope); always `None` without the feature
    /// `ambient`.
    #[cfg(feature = "__connection")]
    pub(crate) fn of_scope() -> Option<Self> {
        #[cfg(feature = "ambient")]
        let current = Self::current();
        #[cfg(not(feature = "ambient"))]
        let current = None;
        current
    }

    pub(crate) fn claims(&self) -> &ContextFields {
        &self.claims
    }

    /// Checks the rules that the types cannot enforce. A transaction does this too, before it sends
    /// anything.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidActor`] if an actor is invalid. [`Error::InvalidContext`] if an id or source
    /// is longer than 256 bytes, or if any value contains the character NUL, which PostgreSQL
    /// cannot store.
    pub fn validate(&self) -> Result<(), Error> {
        self.actor.validate()?;
        self.claims.validate()
    }
}

impl ContextFields {
    pub(super) fn on_behalf_of(&mut self, actor: ActorRef) {
        self.on_behalf_of = Some(actor);
    }

    fn source(&mut self, source: impl Into<String>) {
        self.source = Some(source.into());
    }

    pub(super) fn correlation_id(&mut self, id: impl Into<String>) {
        self.correlation_id = Some(id.into());
    }

    pub(super) fn request_id(&mut self, id: impl Into<String>) {
        self.request_id = Some(id.into());
    }

    pub(super) fn job_id(&mut self, id: impl Into<String>) {
        self.job_id = Some(id.into());
    }

    fn remote_ip(&mut self, address: IpAddr) {
        self.remote_ip = Some(address);
    }

    fn meta(&mut self, meta: serde_json::Value) {
        self.meta = Some(meta);
    }

    /// Fills empty fields from `others`.
    #[cfg(feature = "__connection")]
    pub(super) fn or(self, others: Self) -> Self {
        Self {
            on_behalf_of: self.on_behalf_of.or(others.on_behalf_of),
            source: self.source.or(others.source),
            correlation_id: self.correlation_id.or(others.correlation_id),
            request_id: self.request_id.or(others.request_id),
            job_id: self.job_id.or(others.job_id),
            remote_ip: self.remote_ip.or(others.remote_ip),
            meta: self.meta.or(others.meta),
        }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        if let Some(actor) = &self.on_behalf_of {
            actor.validate()?;
        }
        for (name, value) in [
            ("source", &self.source),
            ("correlation_id", &self.correlation_id),
            ("request_id", &self.request_id),
            ("job_id", &self.job_id),
        ] {
            check_id(name, value.as_deref()).map_err(Error::InvalidContext)?;
        }
        check_json("meta", self.meta.as_ref()).map_err(Error::InvalidContext)
    }
}

/// Returns an error message if an id or source is invalid.
fn check_id(name: &str, value: Option<&str>) -> Result<(), String> {
    let length = value.map_or(0, str::len);
    if length > MAX_LENGTH {
        return Err(format!(
            "{name} has {length} bytes, and at most {MAX_LENGTH} are kept"
        ));
    }
    check_text(name, value)
}

pub(super) fn check_text(name: &str, value: Option<&str>) -> Result<(), String> {
    match value {
        Some(text) if text.contains('\0') => Err(format!("{name} holds the character NUL")),
        _ => Ok(()),
    }
}

pub(super) fn check_json(name: &str, value: Option<&serde_json::Value>) -> Result<(), String> {
    match value {
        Some(json) if holds_nul(json) => Err(format!("{name} holds the character NUL")),
        _ => Ok(()),
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
