use diesel::deserialize::QueryableByName;
use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Jsonb, Nullable, Text, Timestamptz, Uuid};

use super::action_status::ActionStatus;
use super::audit_context::{ContextFields, MAX_LENGTH, check_json, check_text};
use super::{ActorRef, Attribution, AuditContext};
use crate::error::Error;
use crate::setters::setters;

/// A business action, such as `member.role_changed`, that is recorded beside the changes of the
/// same transaction.
///
/// The actor and the correlation, request and job ids come from that transaction, unless they are
/// set here.
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::NewAction;
/// use threadline::prelude::*;
///
/// # diesel::table! { members { id -> Integer, role -> Text } }
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE members (id integer PRIMARY KEY, role text NOT NULL)").execute(&mut conn)?;
/// # diesel::sql_query("INSERT INTO members VALUES (7, 'guest')").execute(&mut conn)?;
/// # threadline::capture::install(&mut conn, &[threadline::TableSpec::new(members::table)])?;
/// let ctx = AuditContext::new(ActorRef::admin("3")).correlation_id("ticket-9");
/// let action = conn.audited_transaction(&ctx, |conn| {
///     diesel::update(members::table.find(7)).set(members::role.eq("owner")).execute(conn)?;
///     NewAction::new("member.role_changed").reason("asked for in ticket 9").record(conn)
/// })?;
///
/// use threadline::schema::threadline::audit_changes;
/// let changes = audit_changes::table.filter(audit_changes::transaction_id.eq(action.transaction_id));
/// assert_eq!(changes.count().get_result(&mut conn), Ok(1));
/// # Ok::<_, threadline::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "an action is only written when it is recorded"]
pub struct NewAction {
    name: String,
    status: ActionStatus,
    comment: Option<String>,
    meta: Option<serde_json::Value>,
    attribution: Attribution,
    claims: ContextFields,
    /// Whether `claims` replaces the whole context of the transaction, including fields that
    /// `claims` leaves empty.
    is_complete: bool,
}

/// Identifies a recorded action. The action is in the audit log once its transaction has committed.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
#[non_exhaustive]
pub struct ActionReceipt {
    /// The id of the action.
    #[diesel(sql_type = Uuid)]
    pub id: uuid::Uuid,
    /// The audit transaction it belongs to.
    #[diesel(sql_type = Uuid)]
    pub transaction_id: uuid::Uuid,
    /// When the action was recorded.
    #[diesel(sql_type = Timestamptz)]
    pub occurred_at: chrono::DateTime<chrono::Utc>,
}

/// The maximum length of the reason and of the comment, in characters.
const MAX_CHARACTERS: usize = 10_000;

/// The maximum size of the JSON of `meta`, in bytes.
const MAX_META_LENGTH: usize = 65_536;

impl NewAction {
    /// Creates an action with this name, a category and a verb such as `member.role_changed`: at
    /// most 256 bytes of `a-z`, `0-9` and `_`, in two or more parts separated by dots. Names that
    /// begin with `threadline.` are reserved for Threadline.
    ///
    /// [`record`](Self::record) returns an error if the name is invalid.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            status: ActionStatus::Ok,
            comment: None,
            meta: None,
            attribution: Attribution::default(),
            claims: ContextFields::default(),
            is_complete: false,
        }
    }

    /// Sets how the action ended; the default is [`ActionStatus::Ok`].
    ///
    /// A rollback also removes the actions recorded in the transaction, so record a failure after
    /// the rollback.
    pub fn status(mut self, status: ActionStatus) -> Self {
        self.status = status;
        self
    }

    setters! { attribution:
        /// Sets the actor, instead of the transaction's actor and the one it acts on behalf of.
        fn actor(actor: ActorRef);

        /// Sets why the action was taken, in at most 10,000 characters. `threadline.require_reason`
        /// makes a reason mandatory for all actions of a name.
        fn reason(reason: impl Into<String>);
    }

    setters! { claims:
        /// Sets on whose behalf the action was taken, instead of the transaction's value.
        fn on_behalf_of(actor: ActorRef);

        /// Sets the correlation id, instead of the transaction's. At most 256 bytes.
        fn correlation_id(id: impl Into<String>);

        /// Sets the request id, instead of the transaction's. At most 256 bytes.
        fn request_id(id: impl Into<String>);

        /// Sets the id of the background job, instead of the transaction's. At most 256 bytes.
        fn job_id(id: impl Into<String>);
    }

    /// Sets a comment for human readers, of at most 10,000 characters.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// Sets further details, in at most 64 KiB of JSON as PostgreSQL formats it.
    pub fn meta(mut self, meta: serde_json::Value) -> Self {
        self.meta = Some(meta);
        self
    }

    /// Takes the whole context from `ctx` instead of from the transaction or scope: for an action
    /// outside a transaction, or an action of a different actor. Fields that `ctx` leaves empty
    /// stay empty.
    pub fn context(mut self, ctx: &AuditContext) -> Self {
        self.attribution.actor = Some(ctx.actor().clone());
        self.claims = ctx.claims().clone();
        self.is_complete = true;
        self
    }

    /// Returns the name given to [`new`](Self::new).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name up to its last dot.
    pub fn category(&self) -> &str {
        self.name.rsplit_once('.').unwrap_or_default().0
    }

    /// Returns the name after its last dot.
    pub fn verb(&self) -> &str {
        self.name.rsplit_once('.').unwrap_or_default().1
    }

    /// Returns the current status.
    pub fn current_status(&self) -> ActionStatus {
        self.status
    }

    /// Checks the rules that the types cannot enforce. [`record`](Self::record) does this too.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAction`], [`Error::InvalidActor`] or [`Error::InvalidContext`].
    pub fn validate(&self) -> Result<(), Error> {
        let is_word = |part: &str| {
            let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            !part.is_empty() && part.bytes().all(allowed)
        };
        if !self.name.contains('.')
            || !self.name.split('.').all(is_word)
            || self.name.len() > MAX_LENGTH
        {
            return Err(Error::InvalidAction(format!(
                "{:?} is no name: write category.verb, in a-z, 0-9 and _",
                self.name
            )));
        }
        if self.name.starts_with("threadline.") {
            return Err(Error::InvalidAction(format!(
                "only Threadline itself records {}: use another category",
                self.name
            )));
        }
        for (name, value) in [
            ("reason", &self.attribution.reason),
            ("comment", &self.comment),
        ] {
            let value = value.as_deref();
            check_text(name, value).map_err(Error::InvalidAction)?;
            if value.is_some_and(|text| text.chars().nth(MAX_CHARACTERS).is_some()) {
                return Err(Error::InvalidAction(format!(
                    "{name} has more than {MAX_CHARACTERS} characters"
                )));
            }
        }
        check_json("meta", self.meta.as_ref()).map_err(Error::InvalidAction)?;
        // PostgreSQL has the final say, because it adds spaces between the elements.
        let bytes = self.meta.as_ref().map_or(0, |meta| meta.to_string().len());
        if bytes > MAX_META_LENGTH {
            return Err(Error::InvalidAction(format!(
                "meta has {bytes} bytes, and may have {MAX_META_LENGTH}"
            )));
        }
        if let Some(actor) = &self.attribution.actor {
            actor.validate()?;
        }
        self.claims.validate()
    }

    /// The context for an action outside a transaction: its own fields, and the rest from the
    /// current scope.
    pub(super) fn own_context(&self) -> Result<AuditContext, Error> {
        let scope = AuditContext::of_scope().filter(|_| !self.is_complete);
        let around = scope.as_ref();
        let actor = self
            .attribution
            .actor
            .as_ref()
            .or(around.map(AuditContext::actor));
        let actor = actor.ok_or(Error::MissingActor)?.clone();
        let mut claims = around.map(|ctx| ctx.claims().clone()).unwrap_or_default();
        if self.attribution.actor.is_some() {
            // As in the database: only the actor of the scope acts on behalf of the other one.
            claims.on_behalf_of = None;
        }
        Ok(AuditContext::from_parts(
            actor,
            self.claims.clone().or(claims),
        ))
    }

    /// The fields that override the context of the transaction. A null overrides too.
    fn given(&self) -> serde_json::Result<serde_json::Value> {
        let mut given = serde_json::to_value(&self.claims)?;
        if self.is_complete {
            for key in ["on_behalf_of", "correlation_id", "request_id", "job_id"] {
                if given.get(key).is_none() {
                    given[key] = serde_json::Value::Null;
                }
            }
        }
        Ok(given)
    }

    pub(super) fn statement(&self) -> Result<BoxedSqlQuery<'static, Pg, SqlQuery>, Error> {
        self.validate()?;
        let json = |error: serde_json::Error| Error::InvalidAction(error.to_string());
        let query = diesel::sql_query(
            "SELECT id, transaction_id, occurred_at FROM threadline.record_action(\
             $1, actor_ref => $2, reason => $3, status => $4, comment => $5, meta => $6, context => $7)",
        );
        let query = query.into_boxed().bind::<Text, _>(self.name.clone());
        Ok(self
            .attribution
            .bind(query)
            .bind::<Text, _>(self.status.as_str())
            .bind::<Nullable<Text>, _>(self.comment.clone())
            .bind::<Nullable<Jsonb>, _>(self.meta.clone())
            .bind::<Jsonb, _>(self.given().map_err(json)?))
    }
}
