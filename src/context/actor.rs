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
    /// What kind of actor an [`ActorRef`] names.
    #[derive(PartialOrd, Ord)]
    pub enum ActorType {
        /// An administrator.
        Admin = "admin",
        /// Somebody who did not say who they are; has no id.
        Anonymous = "anonymous",
        /// A background job.
        Job = "job",
        /// Another program, with an account of its own.
        ServiceAccount = "service_account",
        /// The application itself.
        System = "system",
        /// An end user.
        User = "user",
    }
}

/// Who acts: a type and, for all but the anonymous, an id of your choosing, of at most 1000 bytes.
///
/// On the wire and in the database it is the JSON `{"type": "user", "id": "123"}`.
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

/// Bytes that the id of an actor may have: a longer one is no actor to the database.
const MAX_ID_LENGTH: usize = 1000;

impl ActorRef {
    /// An actor of any type. The id of an anonymous one is dropped.
    pub fn new(actor_type: ActorType, id: impl Into<String>) -> Self {
        Self {
            actor_type,
            id: (actor_type != ActorType::Anonymous).then(|| id.into()),
        }
    }

    /// An administrator.
    pub fn admin(id: impl Into<String>) -> Self {
        Self::new(ActorType::Admin, id)
    }

    /// Somebody who did not say who they are.
    pub fn anonymous() -> Self {
        Self::new(ActorType::Anonymous, "")
    }

    /// A background job.
    pub fn job(id: impl Into<String>) -> Self {
        Self::new(ActorType::Job, id)
    }

    /// Another program, with an account of its own.
    pub fn service_account(id: impl Into<String>) -> Self {
        Self::new(ActorType::ServiceAccount, id)
    }

    /// The application itself, by the name of the part that acts.
    pub fn system(id: impl Into<String>) -> Self {
        Self::new(ActorType::System, id)
    }

    /// An end user.
    pub fn user(id: impl Into<String>) -> Self {
        Self::new(ActorType::User, id)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidActor`] if it has no type, a type nobody knows, or no id where there must be one.
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
        // Not by way of `Self`, whose deserialiser makes one text of every error.
        Wire::deserialize(json)
            .map_err(|error| Error::InvalidActor(error.to_string()))?
            .try_into()
    }

    /// What kind of actor this is.
    pub fn actor_type(&self) -> ActorType {
        self.actor_type
    }

    /// The id; `None` for the anonymous only.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Checks what no type can: a transaction does it too, before it sends anything.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidActor`] if the id is empty, longer than 1000 bytes, or holds the character NUL, which PostgreSQL cannot
    /// store.
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

/// Reads `user:123`, the type, a colon and the id, which may hold colons itself; or `anonymous`. For people it is written
/// without the colon.
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
fn actor_type(word: &str) -> Result<ActorType, Error> {
    let unknown = |error: Error| Error::InvalidActor(error.to_string());
    word.parse().map_err(unknown)
}

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

/// `user 123`, `anonymous`.
impl fmt::Display for ActorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.actor_type.as_str())?;
        match self.id.as_deref() {
            Some(id) if !id.is_empty() => write!(f, " {id}"),
            _ => Ok(()),
        }
    }
}

/// The JSON before it is checked.
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
