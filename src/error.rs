use crate::finding::{self, Finding};

/// What can go wrong outside of queries, which return Diesel's own [`QueryResult`](diesel::QueryResult).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database refused or failed a statement. Look at the source; nothing was changed.
    #[error("the database failed a statement of Threadline")]
    Database(#[source] diesel::result::Error),
    /// The name of an [`NewAction`](crate::NewAction) is none, or a value of it cannot be stored. Nothing was sent.
    #[error("invalid action: {0}")]
    InvalidAction(String),
    /// An [`ActorRef`](crate::ActorRef) has no id, an id that cannot be stored, or a type nobody knows. Nothing was sent.
    #[error("invalid actor: {0}")]
    InvalidActor(String),
    /// A value of an [`AuditContext`](crate::AuditContext) cannot be stored. Nothing was sent.
    #[error("invalid audit context: {0}")]
    InvalidContext(String),
    /// The name of a format means nothing, or the directory has another export in it. Nothing was written.
    #[error("invalid export: {0}")]
    InvalidExport(String),
    /// A filter or cursor of a timeline means nothing. Nothing was sent.
    #[error("invalid filter: {0}")]
    InvalidFilter(String),
    /// The model and the table disagree about the primary key, so the history of a row could not be found by it.
    /// Correct `#[diesel(primary_key(…))]` on the model, or the table.
    #[error("the model of {table} has the primary key ({model}), but the table has ({database})")]
    KeyMismatch {
        /// The table, as the model's `table!` names it.
        table: String,
        /// Key columns of the model, separated by commas.
        model: String,
        /// Key columns of the table, separated by commas; empty without a primary key.
        database: String,
    },
    /// Bringing a row back would lose what was done to it later. Look at those changes, and say that they may be
    /// lost, with `discard_changes_through` of [`Version::restore`](crate::Version). Nothing was changed.
    #[error("{message}")]
    LaterChanges {
        /// What is wrong, as the database says it.
        message: String,
        /// The newest change of the row.
        newest_change: i64,
    },
    /// Nobody was named who acts: there is no context where one is needed, or none in the open transaction. Run the work
    /// in `audited_transaction`, or name the actor.
    #[error("no actor is known: use audited_transaction, or name one")]
    MissingActor,
    /// Tables are not audited as the models say, or by nobody at all: see each finding and its hint. Nothing was changed.
    #[error("what is audited is not what it should be:{}", finding::list(findings))]
    NotCovered {
        /// All that is wrong; never empty.
        findings: Vec<Finding>,
    },
    /// The row asked for was not there at that time, or nothing is known of that time.
    #[error("the row was not there: {0}")]
    NotFound(String),
    /// A word, such as the name of an operation or a format, is none of those that are known. Nothing was sent.
    #[error("`{word}` is unknown: expected {known}")]
    UnknownWord {
        /// The word as it was given.
        word: String,
        /// The words that are known, separated by commas.
        known: String,
    },
    /// The schema `threadline` is not there: run [`MIGRATIONS`](crate::MIGRATIONS) first.
    #[error("the database has no threadline.audit_table: run threadline::MIGRATIONS first")]
    NotMigrated,
    /// A query cannot be read as of the past: it locks rows, or names a table in a way that Threadline does not
    /// understand, and so would read as it is now. Nothing was sent.
    #[error("the query cannot be read as of the past: {0}")]
    NotReadable(String),
    /// What was exported could not be written, or read again. Look at the source.
    #[error("an export could not be written or read")]
    Output(#[source] std::io::Error),
    /// An action of this name has to have a reason: by `threadline.require_reason`, or because it is Threadline's own. It was not
    /// recorded, and the transaction is aborted.
    #[error("the action {action} needs a reason")]
    ReasonRequired {
        /// The name of the action.
        action: String,
    },
    /// A table cannot be audited, or the audit log not be worked on, as asked: a column that does not exist, a masked key, a view.
    /// Nothing was changed.
    #[error("{message} ({hint})")]
    Refused {
        /// What is wrong, as the database says it.
        message: String,
        /// What to do about it.
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
    /// Tells a refusal of `threadline.audit_table`, or of what works on the audit log, from any other error of the database.
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

    /// Tells a refusal of `threadline.record_action` from any other error of the database.
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

    /// Tells a refusal of `threadline.restore` from any other error of the database.
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

/// What [`diesel::result::Error::from`] wrapped comes out again as it was.
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

/// For closures that return Diesel's errors, and functions that promise one: the error of the database itself, or a
/// `QueryBuilderError` around ours.
impl From<Error> for diesel::result::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error,
            other => Self::QueryBuilderError(Box::new(other)),
        }
    }
}
