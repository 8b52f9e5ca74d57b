use crate::finding::{self, Finding};

/// The errors of everything except queries, which return Diesel's own
/// [`QueryResult`](diesel::QueryResult).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database rejected a statement, or failed to run it. See the source; nothing was changed.
    #[error("the database failed a statement of Threadline")]
    Database(#[source] diesel::result::Error),
    /// The name of a [`NewAction`](crate::NewAction) is malformed, or one of its values cannot be
    /// stored. Nothing was sent.
    #[error("invalid action: {0}")]
    InvalidAction(String),
    /// An [`ActorRef`](crate::ActorRef) has no id, an id that cannot be stored, or an unknown type.
    /// Nothing was sent.
    #[error("invalid actor: {0}")]
    InvalidActor(String),
    /// A value of an [`AuditContext`](crate::AuditContext) cannot be stored. Nothing was sent.
    #[error("invalid audit context: {0}")]
    InvalidContext(String),
    /// An export format is unknown, or the directory holds a different export. Nothing was written.
    #[error("invalid export: {0}")]
    InvalidExport(String),
    /// A filter or cursor of a timeline is invalid. Nothing was sent.
    #[error("invalid filter: {0}")]
    InvalidFilter(String),
    /// The model and the table have different primary keys, so the history of a row could not be
    /// found by its key. Correct `#[diesel(primary_key(…))]` on the model, or the table.
    #[error("the model of {table} has the primary key ({model}), but the table has ({database})")]
    KeyMismatch {
        /// The table, as the model's `table!` names it.
        table: String,
        /// Key columns of the model, separated by commas.
        model: String,
        /// Key columns of the table, separated by commas; empty without a primary key.
        database: String,
    },
    /// A restore would overwrite later changes of the row. Review those changes, then allow the
    /// loss with `discard_changes_through` on [`Version::restore`](crate::Version). Nothing was
    /// changed.
    #[error("{message}")]
    LaterChanges {
        /// The database's message.
        message: String,
        /// The newest change of the row.
        newest_change: i64,
    },
    /// No actor is known: the call needs a context and has none, or the open transaction has none.
    /// Run the work in `audited_transaction`, or name the actor.
    #[error("no actor is known: use audited_transaction, or name one")]
    MissingActor,
    /// Tables are not audited as the models declare, or not audited at all. Each finding has a
    /// hint. Nothing was changed.
    #[error("what is audited is not what it should be:{}", finding::list(findings))]
    NotCovered {
        /// Every problem that was found; never empty.
        findings: Vec<Finding>,
    },
    /// The requested row did not exist at that time, or nothing is known about that time.
    #[error("the row was not there: {0}")]
    NotFound(String),
    /// A word, such as the name of an operation or a format, is not one of the known words. Nothing
    /// was sent.
    #[error("`{word}` is unknown: expected {known}")]
    UnknownWord {
        /// The word as it was given.
        word: String,
        /// The known words, separated by commas.
        known: String,
    },
    /// The schema `threadline` does not exist: run [`MIGRATIONS`](crate::MIGRATIONS) first.
    #[error("the database has no threadline.audit_table: run threadline::MIGRATIONS first")]
    NotMigrated,
    /// The query cannot run against the past: it locks rows, or it names a table in a way that
    /// Threadline does not understand and would therefore read in its present state. Nothing was
    /// sent.
    #[error("the query cannot be read as of the past: {0}")]
    NotReadable(String),
    /// An export could not be written or read back. See the source.
    #[error("an export could not be written or read")]
    Output(#[source] std::io::Error),
    /// An action with this name needs a reason, because `threadline.require_reason` demands one or
    /// because it is one of Threadline's own actions. The action was not recorded, and the
    /// transaction is aborted.
    #[error("the action {action} needs a reason")]
    ReasonRequired {
        /// The name of the action.
        action: String,
    },
    /// The request cannot be carried out on this table or on the audit log: a column that does not
    /// exist, a masked key, a view. Nothing was changed.
    #[error("{message} ({hint})")]
    Refused {
        /// The database's message.
        message: String,
        /// How to fix it.
        hint: String,
    },
}

impl Error {
    pub(crate) fn unknown_word(word: &str, known: impl Iterator<Item = &'static str>) -> Self {
        Self::UnknownWord {
            word: word.to_owned(),
            known: known.collect::<Vec<_>>().join(", "),
        }
    }

    #[cfg(feature = "__connection")]
    /// Separates a refusal by `threadline.audit_table`, or by a function that maintains the audit
    /// log, from other database errors.
    pub(crate) fn from_refusal(error: diesel::result::Error) -> Self {
        match &error {
            diesel::result::Error::DatabaseError(_, info)
                if matches!(
                    info.constraint_name(),
                    Some("threadline_audit_table" | "threadline_past" | "threadline_refused")
                ) =>
            {
                Self::Refused {
                    message: info.message().to_owned(),
                    hint: info.hint().unwrap_or_default().to_owned(),
                }
            }
            _ => Self::from_action(error),
        }
    }

    /// Separates a refusal by `threadline.record_action` from other database errors.
    #[cfg(feature = "__connection")]
    pub(crate) fn from_action(error: diesel::result::Error) -> Self {
        let diesel::result::Error::DatabaseError(_, info) = &error else {
            return error.into();
        };
        match info.constraint_name() {
            Some("threadline_missing_actor") => Self::MissingActor,
            Some("threadline_reason_required") => Self::ReasonRequired {
                action: info.details().unwrap_or_default().to_owned(),
            },
            _ => Self::Database(error),
        }
    }

    /// Separates a refusal by `threadline.restore` from other database errors.
    #[cfg(feature = "__connection")]
    pub(crate) fn from_restore(error: diesel::result::Error) -> Self {
        let diesel::result::Error::DatabaseError(_, info) = &error else {
            return Self::Database(error);
        };
        let refused = info.constraint_name() == Some("threadline_later_changes");
        let newest_change = info.details().filter(|_| refused);
        match newest_change.and_then(|id| id.parse().ok()) {
            Some(newest_change) => Self::LaterChanges {
                message: info.message().to_owned(),
                newest_change,
            },
            None => Self::Database(error),
        }
    }
}

/// Unwraps an [`Error`] that the conversion into
/// [`diesel::result::Error`](diesel::result::Error::from) wrapped.
impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        match error {
            diesel::result::Error::QueryBuilderError(inner) => match inner.downcast() {
                Ok(ours) => *ours,
                Err(inner) => Self::Database(diesel::result::Error::QueryBuilderError(inner)),
            },
            other => Self::Database(other),
        }
    }
}

/// For closures and functions that return Diesel's errors: becomes the database's own error, or a
/// `QueryBuilderError` around this one.
impl From<Error> for diesel::result::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error,
            other => Self::QueryBuilderError(Box::new(other)),
        }
    }
}
