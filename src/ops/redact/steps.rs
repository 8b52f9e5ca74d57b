//! The statements of a redaction.

use std::time::Duration;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Array, BigInt, Integer, Jsonb, Nullable, Text, Uuid};
use serde_json::Value;

use super::outcome::{RedactionPlan, RedactionReport};
use super::{Redaction, RedactionTarget};
use crate::context::AuditContext;
use crate::ops::progress::{Progress, ProgressUnit};
use crate::ops::steps::{RunsSteps, Steps};

impl<'a> Redaction<'a> {
    /// Counts what [`run`](Self::run) would replace, and writes nothing. It needs neither an actor
    /// nor a reason. Returns a result or a future, as [`run`](Self::run) does.
    ///
    /// ```sql
    /// SELECT rows, changes, replaced, unknown_keys, moved_keys FROM threadline.redaction_plan($1, $2, $3, $4, $5)
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run), except for the actor and the reason.
    pub fn plan<'c, C: RunsSteps>(self, conn: &'c mut C) -> C::Outcome<'c, RedactionPlan>
    where
        'a: 'c,
    {
        conn.run_steps(Plan::new(self))
    }

    /// Runs the redaction. On a `PgConnection` this returns a result, on an `AsyncPgConnection` a
    /// future of one. Pass a pooled connection as `&mut *conn`. The connection must belong to the
    /// owner of the audit log.
    ///
    /// # Errors
    ///
    /// [`Error::MissingActor`](crate::Error::MissingActor) without an actor, and
    /// [`Error::ReasonRequired`](crate::Error::ReasonRequired) without a reason.
    ///
    /// [`Error::Refused`](crate::Error::Refused) in these cases:
    ///
    /// - A column is part of the primary key, or does not exist.
    /// - A column cannot hold the new value, which would make the past of the whole table
    ///   unreadable.
    /// - No row or no column is named.
    /// - Nothing is recorded about the table.
    /// - A transaction is open.
    ///
    /// [`Error::Database`](crate::Error::Database) if the caller does not own the audit log.
    /// Batches before an error stay done.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves completed batches done. The next run does the rest.
    pub fn run<'c, C: RunsSteps>(self, conn: &'c mut C) -> C::Outcome<'c, RedactionReport>
    where
        'a: 'c,
    {
        conn.run_steps(Run::new(self))
    }
}

/// Calls a database function on the target of a redaction. The table name is read like a literal:
/// the cast from text does not accept a number, and a number is all that is left of a dropped
/// table.
fn call(
    columns: &str,
    function: &str,
    arguments: &str,
    what: &RedactionTarget,
) -> BoxedSqlQuery<'static, Pg, SqlQuery> {
    let table = "pg_catalog.regclassin(pg_catalog.textout($1))";
    let sql =
        format!("SELECT {columns} FROM threadline.{function}({table}, $2, $3, $4, $5{arguments})");
    diesel::sql_query(sql)
        .into_boxed()
        .bind::<Text, _>(what.table.clone())
        .bind::<Array<Text>, _>(what.keys.clone())
        .bind::<Array<Text>, _>(what.mask.clone())
        .bind::<Array<Text>, _>(what.remove.clone())
        .bind::<Jsonb, _>(Value::Object(what.substitutes.clone()))
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

pub(super) struct Plan {
    what: RedactionTarget,
    row: Option<PlanRow>,
}

#[derive(QueryableByName)]
pub(super) struct PlanRow {
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = BigInt)]
    changes: i64,
    #[diesel(sql_type = Jsonb)]
    replaced: Value,
    #[diesel(sql_type = Array<Text>)]
    unknown_keys: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    moved_keys: Vec<String>,
}

impl Plan {
    pub(super) fn new(redaction: Redaction<'_>) -> Self {
        Self {
            what: redaction.what,
            row: None,
        }
    }
}

impl Steps for Plan {
    const NAME: &'static str = "redaction_plan";
    type Row = PlanRow;
    type Outcome = RedactionPlan;

    fn next(&self) -> BoxedSqlQuery<'static, Pg, SqlQuery> {
        let columns = "rows, changes, replaced, unknown_keys, moved_keys";
        call(columns, "redaction_plan", "", &self.what)
    }

    fn took(&mut self, row: PlanRow) -> Option<Duration> {
        self.row = Some(row);
        None
    }

    fn outcome(self) -> RedactionPlan {
        let row = self.row.expect("the only step has returned a row");
        let values = row.replaced.as_object().into_iter().flatten();
        let values = values.map(|(name, n)| (name.clone(), n.as_u64().unwrap_or_default()));
        RedactionPlan {
            rows: unsigned(row.rows),
            changes: unsigned(row.changes),
            values: values.collect(),
            unknown_keys: row.unknown_keys,
            moved_keys: row.moved_keys,
        }
    }
}

pub(super) struct Run<'a> {
    redaction: Redaction<'a>,
    /// The start of the next batch, and the action that the first batch recorded.
    next: Option<Value>,
    action_id: Option<uuid::Uuid>,
    redacted: RedactionReport,
}

#[derive(QueryableByName)]
pub(super) struct RunRow {
    #[diesel(sql_type = Uuid)]
    action_id: uuid::Uuid,
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = BigInt)]
    changes: i64,
    #[diesel(sql_type = BigInt)]
    replaced: i64,
    #[diesel(sql_type = Nullable<Jsonb>)]
    next: Option<Value>,
    #[diesel(sql_type = Array<Text>)]
    moved_keys: Vec<String>,
}

impl<'a> Run<'a> {
    pub(super) fn new(mut redaction: Redaction<'a>) -> Self {
        let actor = &mut redaction.attribution.actor;
        *actor = actor
            .take()
            .or_else(|| Some(AuditContext::of_scope()?.actor().clone()));
        Self {
            redaction,
            next: None,
            action_id: None,
            redacted: RedactionReport::default(),
        }
    }
}

impl Steps for Run<'_> {
    const NAME: &'static str = "redact";
    type Row = RunRow;
    type Outcome = RedactionReport;

    fn next(&self) -> BoxedSqlQuery<'static, Pg, SqlQuery> {
        let columns = "action_id, rows, changes, replaced, next, moved_keys";
        let Redaction {
            what,
            attribution,
            pace,
        } = &self.redaction;
        let query = call(columns, "redact_step", ", $6, $7, $8, $9, $10", what);
        attribution
            .bind(query)
            .bind::<Integer, _>(pace.rows())
            .bind::<Nullable<Jsonb>, _>(self.next.clone())
            .bind::<Nullable<Uuid>, _>(self.action_id)
    }

    fn took(&mut self, row: RunRow) -> Option<Duration> {
        self.next = row.next;
        self.action_id = Some(row.action_id);
        let redacted = &mut self.redacted;
        redacted.action_id = row.action_id;
        redacted.rows += unsigned(row.rows);
        redacted.changes += unsigned(row.changes);
        redacted.values += unsigned(row.replaced);
        for key in row.moved_keys {
            if !redacted.moved_keys.contains(&key) {
                redacted.moved_keys.push(key);
            }
        }
        let progress = Progress {
            done: redacted.changes,
            unit: ProgressUnit::Changes,
            total: None,
        };
        self.redaction
            .pace
            .after_batch(progress, self.next.is_none())
    }

    fn outcome(self) -> RedactionReport {
        self.redacted
    }
}
