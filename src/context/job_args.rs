use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::audit_context::ContextFields;
use super::{ActorRef, AuditContext};
use crate::error::Error;

/// The version of the envelope. A change that older versions would misread must increment it.
const VERSION: u64 = 1;

#[derive(Serialize)]
struct Envelope<'a> {
    v: u64,
    actor_ref: &'a ActorRef,
    #[serde(flatten)]
    claims: &'a ContextFields,
}

/// Serialization of a context into the arguments of a background job.
impl AuditContext {
    /// Returns the context as compact, versioned JSON, to put into the arguments of a job.
    ///
    /// `AuditContext` also implements [`Serialize`] and [`Deserialize`] in this form, so it can be
    /// a field of your own argument struct.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate), so that an invalid context fails when the job is queued and
    /// not when it runs.
    ///
    /// # Example
    ///
    /// The worker adds the id of its job; the actor remains the user whose request queued the job.
    ///
    /// ```
    /// use serde_json::json;
    /// use threadline::{ActorRef, AuditContext};
    ///
    /// let ctx = AuditContext::new(ActorRef::user("7")).correlation_id("checkout-77");
    /// let args = json!({"order": 5, "audit": ctx.to_job_args()?});
    /// assert_eq!(args["audit"], json!({"v": 1, "actor_ref": {"type": "user", "id": "7"}, "correlation_id": "checkout-77"}));
    ///
    /// let in_worker = AuditContext::from_job_args(&args["audit"])?.job_id("job-12");
    /// assert_eq!(in_worker.actor(), &ActorRef::user("7"));
    /// # Ok::<_, threadline::Error>(())
    /// ```
    pub fn to_job_args(&self) -> Result<Value, Error> {
        self.validate()?;
        serde_json::to_value(self).map_err(|error| Error::InvalidContext(error.to_string()))
    }

    /// Reads what [`to_job_args`](Self::to_job_args) wrote, and ignores unknown keys.
    ///
    /// # Errors
    ///
    /// [`Error::MissingActor`] or [`Error::InvalidActor`]. [`Error::InvalidContext`] if the
    /// arguments have a version that this library does not understand, or a field cannot be read or
    /// stored.
    pub fn from_job_args(args: &Value) -> Result<Self, Error> {
        let version = args.get("v").unwrap_or(&Value::Null);
        // Jobs queued by hand, or by the sibling library, have no version.
        if !version.is_null() && version.as_u64().is_none_or(|v| v == 0 || v > VERSION) {
            return Err(Error::InvalidContext(format!(
                "the job's arguments are of version {version}, and this is version {VERSION}"
            )));
        }
        let actor = match args.get("actor_ref") {
            None | Some(Value::Null) => return Err(Error::MissingActor),
            Some(actor) => ActorRef::from_json(actor)?,
        };
        let claims = ContextFields::deserialize(args)
            .map_err(|error| Error::InvalidContext(error.to_string()))?;
        let ctx = Self::from_parts(actor, claims);
        ctx.validate()?;
        Ok(ctx)
    }
}

impl Serialize for AuditContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Envelope {
            v: VERSION,
            actor_ref: self.actor(),
            claims: self.claims(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AuditContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let args = Value::deserialize(deserializer)?;
        Self::from_job_args(&args).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// All fields of a context survive the round trip, in either representation.
    #[test]
    fn round_trip() {
        let ctx = AuditContext::new(ActorRef::admin("a"))
            .on_behalf_of(ActorRef::user("7"))
            .source("shop")
            .correlation_id("c")
            .request_id("r")
            .job_id("j")
            .remote_ip([192, 0, 2, 7].into())
            .meta(json!({"a": [1, null]}));
        assert_eq!(
            AuditContext::from_job_args(&ctx.to_job_args().unwrap()).unwrap(),
            ctx
        );
        let text = serde_json::to_string(&ctx).unwrap();
        assert_eq!(serde_json::from_str::<AuditContext>(&text).unwrap(), ctx);
    }

    /// Keys added by a later version are ignored; other envelope versions are refused.
    #[test]
    fn other_versions() {
        let actor = json!({"type": "user", "id": "7"});
        let read = |args| AuditContext::from_job_args(&args);
        let ctx = AuditContext::new(ActorRef::user("7"));
        assert_eq!(read(json!({"actor_ref": actor, "order": 5})).unwrap(), ctx);
        let newer = json!({"v": 1, "actor_ref": actor, "tenant": {"id": 1}});
        assert_eq!(read(newer).unwrap(), ctx);
        for version in [json!(2), json!(0), json!(1.5), json!("1")] {
            let args = json!({"v": version, "actor_ref": actor});
            assert!(matches!(read(args), Err(Error::InvalidContext(_))));
        }
    }

    /// Arguments that are damaged, or were not written by Threadline, get a specific error.
    #[test]
    fn refused() {
        let read = |args| AuditContext::from_job_args(&args).unwrap_err();
        for args in [
            json!(null),
            json!([]),
            json!({}),
            json!({"actor_ref": null}),
        ] {
            assert!(matches!(read(args), Error::MissingActor));
        }
        let actors = [
            json!("user"),
            json!({"id": "7"}),
            json!({"type": "robot", "id": "7"}),
            json!({"type": "user"}),
            json!({"type": "user", "id": ""}),
            json!({"type": "user", "id": "a\0"}),
            json!({"type": "user", "id": 7}),
        ];
        for actor in actors {
            assert!(matches!(
                read(json!({"actor_ref": actor})),
                Error::InvalidActor(_)
            ));
        }
        let actor = json!({"type": "user", "id": "7"});
        for (key, value) in [
            ("correlation_id", json!("x".repeat(257))),
            ("request_id", json!("a\0")),
            ("source", json!(7)),
            ("remote_ip", json!("here")),
            ("on_behalf_of", json!({"type": "user"})),
        ] {
            let args = json!({"actor_ref": actor, key: value});
            assert!(matches!(read(args), Error::InvalidContext(_)), "{key}");
        }
    }
}
