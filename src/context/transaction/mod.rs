//! The audited transaction: its SQL, and the two kinds of connection that send it.

#[cfg(feature = "async")]
pub(super) mod asynchronous;
#[cfg(feature = "sync")]
pub(super) mod sync;

use super::audit_context::AuditContext;
use crate::error::Error;
use crate::sql::Literal;

/// The settings of an audited transaction, as SQL. Every setting ends with the transaction. The
/// capture functions read them.
pub(super) struct Settings {
    actor: String,
    claims: String,
}

impl Settings {
    pub(super) fn new(ctx: &AuditContext) -> Result<Self, Error> {
        ctx.validate()?;
        let json = |result: serde_json::Result<String>| {
            result.map_err(|error| Error::InvalidContext(error.to_string()))
        };
        Ok(Self {
            actor: json(serde_json::to_string(ctx.actor()))?,
            claims: json(serde_json::to_string(ctx.claims()))?,
        })
    }

    /// Begins the transaction and applies the settings in one message, so that an audited
    /// transaction needs no more round trips than a plain one. `SET LOCAL` costs the server half as
    /// much as a query that calls `set_config`.
    pub(super) fn begin(&self) -> String {
        format!("BEGIN; {}", self.apply())
    }

    pub(super) fn apply(&self) -> String {
        format!(
            "SET LOCAL threadline.actor_ref = {}; SET LOCAL threadline.context = {}",
            Literal(&self.actor),
            Literal(&self.claims),
        )
    }

    /// Applies the settings to a savepoint, and saves the values they replace.
    pub(super) fn nest(&self) -> String {
        format!("{KEEP}; {}", self.apply())
    }
}

/// Saves the current context for [`UNNEST`]. `began` ties the saved value to the running
/// transaction, because a plain outer transaction does not clear what the session has set.
const KEEP: &str = "SELECT pg_catalog.set_config('threadline.outer_context', pg_catalog.jsonb_build_object(\
    'began', t.began, \
    'actor_ref', pg_catalog.current_setting('threadline.actor_ref', true), \
    'context', pg_catalog.current_setting('threadline.context', true), \
    'outer', CASE WHEN pg_catalog.strpos(pg_catalog.current_setting('threadline.outer_context', true), t.began) \
    OPERATOR(pg_catalog.>) 0 \
    THEN pg_catalog.current_setting('threadline.outer_context', true)::pg_catalog.jsonb END\
    )::pg_catalog.text, true) \
    FROM (SELECT (pg_catalog.date_part('epoch', pg_catalog.transaction_timestamp()) \
    OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8::pg_catalog.text) AS t (began)";

/// Restores the settings that [`Settings::nest`] replaced. Only `RELEASE` needs it: `ROLLBACK TO`
/// restores settings by itself.
pub(super) const UNNEST: &str = "SELECT \
    pg_catalog.set_config('threadline.actor_ref', coalesce(o.kept ->> 'actor_ref', ''), true), \
    pg_catalog.set_config('threadline.context', coalesce(o.kept ->> 'context', ''), true), \
    pg_catalog.set_config('threadline.outer_context', coalesce(o.kept ->> 'outer', ''), true) \
    FROM (SELECT pg_catalog.current_setting('threadline.outer_context')::pg_catalog.jsonb) AS o (kept)";

/// If a statement of the transaction failed, PostgreSQL answers `COMMIT` with a rollback and no
/// error. The `SELECT` in front fails in that case, so a transaction whose work swallowed the
/// failure does not appear to be committed.
pub(super) const COMMIT: &str = "SELECT; COMMIT";

/// The id of the running transaction, or null unless the session knows that the transaction has a
/// row; see `threadline_internal.transaction_id`. The id is computed, because an earlier user of a
/// pooled connection may have set `threadline.entered` for the session.
pub(super) const TRANSACTION_ID: &str = "(SELECT t.id FROM (SELECT pg_catalog.encode(pg_catalog.int8send(\
    (e.began OPERATOR(pg_catalog./) 1000) OPERATOR(pg_catalog.<<) 16 OPERATOR(pg_catalog.|) 28672 OPERATOR(pg_catalog.|) \
    (e.began OPERATOR(pg_catalog.%) 1000 OPERATOR(pg_catalog.*) 4096 OPERATOR(pg_catalog./) 1000)) \
    OPERATOR(pg_catalog.||) pg_catalog.set_byte(pg_catalog.xid8send(pg_catalog.pg_current_xact_id_if_assigned()), 0, 128), \
    'hex')::pg_catalog.uuid FROM (SELECT (pg_catalog.date_part('epoch', pg_catalog.transaction_timestamp()) \
    OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8) AS e (began)) AS t (id) \
    WHERE pg_catalog.starts_with(pg_catalog.current_setting('threadline.entered', true), pg_catalog.concat(t.id, ',')))";
