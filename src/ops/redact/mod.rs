//! Redaction: removes values from recorded changes.

mod outcome;
mod steps;

use std::time::Duration;

use serde_json::{Map, Value};

use super::pace::{Pace, progress};
use super::progress::Progress;
use crate::context::{ActorRef, Attribution};
use crate::setters::setters;

pub use outcome::{RedactionPlan, RedactionReport};

/// Removes values from the recorded changes of some rows, such as the rows of a person who
/// requested erasure. Write the name of the table as in SQL.
///
/// A redaction works on the audit log alone, in short transactions that block nobody for long. The
/// action `threadline.redaction` records it. You can kill it at any time and run it again to
/// finish. Change the rows themselves first; the guide `docs/redaction.md` lists the other steps.
///
/// ```sql
/// SELECT action_id, rows, changes, replaced, next, moved_keys             -- again and again, until next is NULL
///   FROM threadline.redact_step($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
/// ```
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::prelude::*;
///
/// # diesel::table! { users { id -> Integer, email -> Text, born -> Nullable<Date> } }
/// # #[derive(Queryable, Selectable, Audited)]
/// # struct User { id: i32, email: String, born: Option<chrono::NaiveDate> }
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, email text NOT NULL, born date)").execute(&mut conn)?;
/// # threadline::capture::install(&mut conn, &[User::audit_spec()])?;
/// # diesel::sql_query("INSERT INTO users VALUES (7, 'ada@example.com', '1815-12-10')").execute(&mut conn)?;
/// # diesel::delete(users::table.find(7)).execute(&mut conn)?;
/// let redaction = threadline::redact("users").row(7).mask(["email"]).remove(["born"]);
///
/// let plan = redaction.clone().plan(&mut conn)?;                              // writes nothing
/// assert_eq!((plan.rows, plan.changes), (1, 2));
///
/// let redacted = redaction.actor(ActorRef::admin("dpo")).reason("erasure request 12").run(&mut conn)?;
/// assert_eq!(redacted.changes, 2);
///
/// let versions: Vec<threadline::Version<User>> = User::history(7).load(&mut conn)?;
/// assert_eq!((&*versions[0].row.email, versions[0].row.born), ("[REDACTED]", None));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn redact(table: impl Into<String>) -> Redaction<'static> {
    Redaction {
        what: RedactionTarget {
            table: table.into(),
            ..RedactionTarget::default()
        },
        attribution: Attribution::default(),
        pace: Pace::new(1000, Duration::ZERO),
    }
}

/// The target of a redaction.
#[derive(Debug, Clone, Default)]
pub(super) struct RedactionTarget {
    pub(super) table: String,
    pub(super) keys: Vec<String>,
    pub(super) mask: Vec<String>,
    pub(super) remove: Vec<String>,
    pub(super) substitutes: Map<String, Value>,
}

/// A redaction to run. Created by [`redact`]. A clone reports no progress.
#[derive(Debug, Clone)]
#[must_use = "nothing is redacted until it is run"]
pub struct Redaction<'a> {
    pub(super) what: RedactionTarget,
    pub(super) attribution: Attribution,
    pub(super) pace: Pace<'a>,
}

impl<'a> Redaction<'a> {
    /// Adds the row with this primary key. For a key of several columns, pass a JSON array in key
    /// order. The types of the key parse the text; text that is not a key of the table is refused.
    pub fn row(self, key: impl ToString) -> Self {
        self.keys([key])
    }

    /// Adds the rows with these primary keys.
    pub fn keys(mut self, keys: impl IntoIterator<Item = impl ToString>) -> Self {
        let keys = keys.into_iter().map(|key| key.to_string());
        self.what.keys.extend(keys);
        self
    }

    /// Replaces all values of these columns, given by their present names, with the placeholder
    /// `[REDACTED]`. The columns must hold text.
    pub fn mask(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.what.mask.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Replaces all values of these columns with NULL. The columns must be nullable.
    pub fn remove(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.what.remove.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Replaces all values of a column with this value, for columns that can hold neither the
    /// placeholder nor NULL. Pass it as JSON, in the format of `to_jsonb` for the type of the
    /// column.
    pub fn substitute(mut self, column: impl Into<String>, value: impl Into<Value>) -> Self {
        self.what.substitutes.insert(column.into(), value.into());
        self
    }

    setters! { attribution:
        /// Sets the actor; by default the actor of the current [scope](crate::AuditContext::scope),
        /// if there is one.
        fn actor(actor: ActorRef);

        /// Sets the reason.
        fn reason(reason: impl Into<String>);
    }

    setters! { pace:
        /// Sets how many changes a transaction reads; 1,000 by default.
        fn batch_size(changes: u32);

        /// Sets the pause between two transactions. No pause by default.
        fn pause(pause: Duration);
    }

    progress!(Redaction);
}
