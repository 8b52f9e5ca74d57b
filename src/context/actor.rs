use std::fmt;
use std::str::FromStr;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Jsonb;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::text_enum::text_enum;

text_enum! {
    /// The type of actor that an [`ActorRef`] names.
    #[derive(PartialOrd, Ord)]
    pub enum ActorType {
        /// An administrator.
        Admin = "admin",
        /// Someone who has not identified themselves. Has no id.
        Anonymous = "anonymous",
        /// A background job.
        Job = "job",
        /// Another program with an account of its own.
        ServiceAccount = "service_account",
        /// The application itself.
        System = "system",
        /// An end user.
        User = "user",
    }
}

/// An actor: a type and an id that you choose, of at most 1000 bytes. Only an anonymous actor has
/// no id.
///
/// On the wire and in the database it is JSON: `{"type": "user", "id": "123"}`.
///
/// # Example
///
/// ```
/// use threadline::ActorRef;
///
/// let actor = ActorRef::user("user:123");
/// assert_eq!(serde_json::to_string(&actor)?, r#"{"type":"user","id":"user:123"}"#);
/// assert!(ActorRef::user("").validate().is_err());
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    AsExpression,
    FromSqlRow,
)]
#[serde(try_from = "Wire")]
#[diesel(sql_type = Jsonb)]
pub struct ActorRef {
    #[serde(rename = "type")]
    actor_type: ActorType,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// The maximum length of an actor's id, in bytes. The database does not accept an actor with a
/// longer id.
const MAX_ID_LENGTH: usize = 1000;

impl ActorRef {
    /// Creates an actor of any type. The id of an anonymous actor is dropped.
    pub fn new(actor_type: ActorType, id: impl Into<String>) -> Self {
        Self {
            actor_type,
            id: (actor_type != ActorType::Anonymous).then(|| id.into()),
        }
    }

    /// Creates an administrator.
    pub fn admin(id: impl Into<String>) -> Self {
        Self::new(ActorType::Admin, id)
    }

    /// Creates an actor who has not identified themselves.
    pub fn anonymous() -> Self {
        Self::new(ActorType::Anonymous, "")
    }

    /// Creates a background job.
    pub fn job(id: impl Into<String>) -> Self {
        Self::new(ActorType::Job, id)
    }

    /// Creates a service account: another program with an account of its own.
    pub fn service_account(id: impl Into<String>) -> Self {
        Self::new(ActorType::ServiceAccount, id)
    }

    /// Creates an actor for the application itself; `id` names the part that acts.
    pub fn system(id: impl Into<String>) -> Self {
        Self::new(ActorType::System, id)
    }

    /// Creates an end user.
    pub fn user(id: impl Into<String>) -> Self {
        Self::new(ActorType::User, id)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidActor`] if the type is missing or unknown, or if a required id is missing.
    ///
    /// # Example
    ///
    /// ```
    /// use serde_json::json;
    /// use threadline::{ActorRef, Error};
    ///
    /// assert_eq!(ActorRef::from_json(&json!({"type": "user", "id": "7"}))?, ActorRef::user("7"));
    /// assert!(matches!(ActorRef::from_json(&json!({"type": "robot", "id": "7"})), Err(Error::InvalidActor(_))));
    /// # Ok::<_, Error>(())
    /// ```
    pub fn from_json(json: &serde_json::Value) -> Result<Self, Error> {
        // Does not deserialize `Self`, whose errors are only text.
        Wire::deserialize(json)
            .map_err(|error| Error::InvalidActor(error.to_string()))?
            .try_into()
    }

    /// Returns the type of the actor.
    pub fn actor_type(&self) -> ActorType {
        self.actor_type
    }

    /// Returns the id; `None` only for an anonymous actor.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Checks the rules that the types cannot enforce. A transaction does this too, before it sends
    /// anything.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidActor`] if the id is empty, longer than 1000 bytes, or contains the
    /// character NUL, which PostgreSQL cannot store.
    pub fn validate(&self) -> Result<(), Error> {
        match self.id.as_deref() {
            Some("") => Err(Error::InvalidActor(format!(
                "an actor of type {self} needs an id"
            ))),
            Some(id) if id.len() > MAX_ID_LENGTH => Err(Error::InvalidActor(format!(
                "the id has {} bytes, and may have {MAX_ID_LENGTH}",
                id.len()
            ))),
            Some(id) if id.contains('\0') => Err(Error::InvalidActor(
                "the id holds the character NUL".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

fn actor_type(word: &str) -> Result<ActorType, Error> {
    let unknown = |error: Error| Error::InvalidActor(error.to_string());
    word.parse().map_err(unknown)
}

/// Reads an actor: the type, a colon and the id, as in `user:123`, or `anonymous`. The id may
/// contain colons. `Display` writes a space instead of the first colon.
///
/// ```
/// use threadline::ActorRef;
///
/// let actor: ActorRef = "service_account:ci:deploy".parse()?;
/// assert_eq!(actor, ActorRef::service_account("ci:deploy"));
/// assert_eq!(actor.to_string(), "service_account ci:deploy");
/// assert!("user".parse::<ActorRef>().is_err() && "anonymous:1".parse::<ActorRef>().is_err());
/// # Ok::<_, threadline::Error>(())
/// ```
impl FromStr for ActorRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (word, id) = match text.split_once(':') {
            Some((word, id)) => (word, Some(id)),
            None => (text, None),
        };
        match (actor_type(word)?, id) {
            (ActorType::Anonymous, None) => Ok(Self::anonymous()),
            (ActorType::Anonymous, Some(_)) => Err(Error::InvalidActor(
                "an anonymous actor has no id".to_owned(),
            )),
            (_, None) => Err(Error::InvalidActor(format!(
                "an actor of type {word} needs an id: {word}:123"
            ))),
            (actor_type, Some(id)) => {
                let actor = Self::new(actor_type, id);
                actor.validate()?;
                Ok(actor)
            }
        }
    }
}

/// Writes `user 123` or `anonymous`.
impl fmt::Display for ActorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.actor_type.as_str())?;
        match self.id.as_deref() {
            Some(id) if !id.is_empty() => write!(f, " {id}"),
            _ => Ok(()),
        }
    }
}

/// The JSON form before validation.
#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    actor_type: String,
    id: Option<String>,
}

impl TryFrom<Wire> for ActorRef {
    type Error = Error;

    fn try_from(wire: Wire) -> Result<Self, Error> {
        let actor = Self::new(actor_type(&wire.actor_type)?, wire.id.unwrap_or_default());
        actor.validate()?;
        Ok(actor)
    }
}

impl FromSql<Jsonb, Pg> for ActorRef {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let json = <serde_json::Value as FromSql<Jsonb, Pg>>::from_sql(value)?;
        Ok(serde_json::from_value(json)?)
    }
}

impl ToSql<Jsonb, Pg> for ActorRef {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let json = serde_json::to_value(self)?;
        <serde_json::Value as ToSql<Jsonb, Pg>>::to_sql(&json, &mut out.reborrow())
    }
}
