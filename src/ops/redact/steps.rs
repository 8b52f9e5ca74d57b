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
    /// Counts what [`run`](Self::run) would replace, and writes nothing. It needs neither actor nor reason. Returns as [`run`](Self::run) does.
    ///
    /// ```sql
    /// SELECT rows, changes, replaced, unknown_keys, moved_keys FROM threadline.redaction_plan($1, $2, $3, $4, $5)
    /// ```
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), but for actor and reason.
    pub fn plan<'c, C: RunsSteps>(self, conn: &'c mut C) -> C::Outcome<'c, RedactionPlan>
    where
        'a: 'c,
    {
        conn.run_steps(Plan::new(self))
    }

    /// Does it. On a `PgConnection` it returns a result, on an `AsyncPgConnection` the future of one; a pooled connection is
    /// passed as `&mut *conn`. It has to be one of the owner of the audit log.
    ///
    /// # Errors
    ///
    /// [`Error::MissingActor`](crate::Error::MissingActor) and [`Error::ReasonRequired`](crate::Error::ReasonRequired) without them. [`Error::Refused`](crate::Error::Refused) if a column cannot be redacted so: it is of the
    /// primary key, there is none of its name, or it can hold no such value, which would keep the past of the whole table from
    /// being read; if no record or no column is named, nothing is recorded of the table, or a transaction is open.
    /// [`Error::Database`](crate::Error::Database) if the caller does not own the audit log. Batches before an error stay done.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped leaves whole batches; the next run does the rest.
    pub fn run<'c, C: RunsSteps>(self, conn: &'c mut C) -> C::Outcome<'c, RedactionReport>
    where
        'a: 'c,
    {
        conn.run_steps(Run::new(self))
    }
}

/// A function of the database, on what is to be redacted. The table is read as a literal is: the cast from text takes no number,
/// which is all that is left of a table that is gone.
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
    /// Where the next batch begins, with the action of the first one.
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
