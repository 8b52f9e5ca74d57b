use diesel::deserialize::QueryableByName;
use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Jsonb, Nullable, Text, Timestamptz, Uuid};

use super::action_status::ActionStatus;
use super::audit_context::{ContextFields, MAX_LENGTH, check_json, check_text};
use super::{ActorRef, Attribution, AuditContext};
use crate::error::Error;
use crate::setters::setters;

/// What someone did, in the words of the business: recorded beside the changes of the same transaction.
///
/// Who did it, and the ids of correlation, request and job, are those of the transaction it is recorded in, unless they
/// are given here.
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
    /// The claims are all there is to say, also where they say nothing.
    is_complete: bool,
}

/// An action that is in the audit log, or will be when its transaction commits.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
#[non_exhaustive]
pub struct ActionReceipt {
    /// Its identity.
    #[diesel(sql_type = Uuid)]
    pub id: uuid::Uuid,
    /// The audit transaction it belongs to.
    #[diesel(sql_type = Uuid)]
    pub transaction_id: uuid::Uuid,
    /// When it was recorded.
    #[diesel(sql_type = Timestamptz)]
    pub occurred_at: chrono::DateTime<chrono::Utc>,
}

/// Characters that the reason and the comment may have.
const MAX_CHARACTERS: usize = 10_000;

/// Bytes that the JSON of `meta` may have.
const MAX_META_LENGTH: usize = 65_536;

impl NewAction {
    /// An action by its name: a category and a verb, such as `member.role_changed`. At most 256 bytes out of `a-z`,
    /// `0-9` and `_`, in two or more parts with dots between them. Names that begin with `threadline.` are Threadline's own.
    ///
    /// [`record`](Self::record) refuses a wrong name.
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

    /// How it ended; [`ActionStatus::Ok`] by default.
    ///
    /// What is recorded in a transaction that is rolled back is gone with it, so record a failure after that.
    pub fn status(mut self, status: ActionStatus) -> Self {
        self.status = status;
        self
    }

    setters! { attribution:
        /// Who did it, instead of the actor of the transaction and whom that one acts for.
        fn actor(actor: ActorRef);

        /// Why it was done, in at most 10,000 characters. `threadline.require_reason` demands a reason for all actions of a
        /// name.
        fn reason(reason: impl Into<String>);
    }

    setters! { claims:
        /// For whom it was done, instead of whom the transaction says.
        fn on_behalf_of(actor: ActorRef);

        /// Its correlation id, instead of the transaction's. At most 256 bytes.
        fn correlation_id(id: impl Into<String>);

        /// Its request, instead of the transaction's. At most 256 bytes.
        fn request_id(id: impl Into<String>);

        /// Its background job, instead of the transaction's. At most 256 bytes.
        fn job_id(id: impl Into<String>);
    }

    /// A remark for people, of at most 10,000 characters.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// Whatever else is worth keeping, in at most 64 KiB of JSON as PostgreSQL writes it.
    pub fn meta(mut self, meta: serde_json::Value) -> Self {
        self.meta = Some(meta);
        self
    }

    /// Says all of it by a context, instead of that of the transaction or scope: for an action outside a transaction, or
    /// of somebody else. What the context does not say is then said by nobody.
    pub fn context(mut self, ctx: &AuditContext) -> Self {
        self.attribution.actor = Some(ctx.actor().clone());
        self.claims = ctx.claims().clone();
        self.is_complete = true;
        self
    }

    /// The name given to [`new`](Self::new).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name up to its last dot.
    pub fn category(&self) -> &str {
        self.name.rsplit_once('.').unwrap_or_default().0
    }

    /// The name after its last dot.
    pub fn verb(&self) -> &str {
        self.name.rsplit_once('.').unwrap_or_default().1
    }

    /// The status, as it is now.
    pub fn current_status(&self) -> ActionStatus {
        self.status
    }

    /// Checks what no type can; [`record`](Self::record) does it too.
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
        // PostgreSQL has the last word: it puts spaces between the parts.
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

    /// What an action outside a transaction runs in: what it says itself, and the rest of the scope it is in.
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
            // As in the database: it is for the actor of the scope that one acts for another.
            claims.on_behalf_of = None;
        }
        Ok(AuditContext::from_parts(
            actor,
            self.claims.clone().or(claims),
        ))
    }

    /// What goes before the context of the transaction, where a null goes before it, too.
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
