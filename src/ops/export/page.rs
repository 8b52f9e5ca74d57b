use chrono::{DateTime, Utc};
use diesel::deserialize::{self, Queryable};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid};
use diesel::{QueryResult, RunQueryDsl};
use serde_json::Value;

use crate::query::{Recorded, Timeline, TimelineCursor, TimelinePage};

/// A query for a page of a timeline, in the form that exports need.
///
/// ```sql
/// SELECT … FROM threadline.timeline_export($1, $2, $3, $4, $5)
/// ```
#[derive(Debug, Clone, QueryId)]
pub(crate) struct ExportPage(TimelinePage);

/// A change in the form that exports need. JSON values are kept as text, as exact as in the
/// database.
#[derive(Debug, Clone)]
pub(crate) struct ExportRow {
    pub(crate) position: TimelineCursor,
    pub(crate) transaction_id: uuid::Uuid,
    pub(crate) table_schema: String,
    pub(crate) table_name: String,
    pub(crate) op: String,
    pub(crate) table_pk: String,
    pub(crate) row_key: Option<String>,
    pub(crate) moved_key: Option<String>,
    pub(crate) data_after: Option<String>,
    pub(crate) changed_from: Option<String>,
    pub(crate) occurred_at: Option<DateTime<Utc>>,
    pub(crate) actor_ref: Option<String>,
    pub(crate) on_behalf_of: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) job_id: Option<String>,
    pub(crate) remote_ip: Option<String>,
    pub(crate) meta: Option<String>,
    pub(crate) database_role: Option<String>,
    pub(crate) application_name: Option<String>,
    pub(crate) actions: String,
}

impl<R: Recorded> Timeline<R> {
    /// The whole timeline; [`ExportPage::part`] selects a part of it.
    pub(crate) fn export_page(self) -> ExportPage {
        ExportPage(self.page)
    }
}

impl ExportPage {
    /// The position that the timeline starts after.
    pub(crate) fn position(&self) -> Option<TimelineCursor> {
        self.0.before
    }

    /// The filter as JSON, including the names of the tables.
    pub(crate) fn filter_json(&self) -> Value {
        self.0.filter.to_json()
    }

    /// At most `limit` rows, starting after a position or from the beginning.
    pub(crate) fn part(&self, after: Option<TimelineCursor>, limit: i32) -> Self {
        let mut page = self.0.clone();
        page.limit = limit;
        if let Some(after) = after {
            page.before(after);
        }
        Self(page)
    }
}

type OptionalText = Nullable<Text>;

impl Query for ExportPage {
    type SqlType = (
        BigInt,
        Timestamptz,
        Uuid,
        (Text, Text, Text),
        (Text, OptionalText, OptionalText),
        (OptionalText, OptionalText),
        (Nullable<Timestamptz>, OptionalText, OptionalText),
        (OptionalText, OptionalText, OptionalText, OptionalText),
        (OptionalText, OptionalText, OptionalText, OptionalText),
        Text,
    );
}

impl<Conn> RunQueryDsl<Conn> for ExportPage {}

impl QueryFragment<Pg> for ExportPage {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT id, captured_at, transaction_id, table_schema, table_name, op, table_pk, row_key, moved_key, data_after, \
             changed_from, occurred_at, actor_ref, on_behalf_of, source, correlation_id, request_id, job_id, \
             remote_ip, meta, database_role, application_name, actions FROM ",
        );
        self.0.walk("threadline.timeline_export", out)
    }
}

type MaybeText = Option<String>;

impl Queryable<<ExportPage as Query>::SqlType, Pg> for ExportRow {
    type Row = (
        i64,
        DateTime<Utc>,
        uuid::Uuid,
        (String, String, String),
        (String, MaybeText, MaybeText),
        (MaybeText, MaybeText),
        (Option<DateTime<Utc>>, MaybeText, MaybeText),
        (MaybeText, MaybeText, MaybeText, MaybeText),
        (MaybeText, MaybeText, MaybeText, MaybeText),
        String,
    );

    fn build(row: Self::Row) -> deserialize::Result<Self> {
        let (id, captured_at, transaction_id, what, keys, images, who, cause, rest, actions) = row;
        let (table_schema, table_name, op) = what;
        let (table_pk, row_key, moved_key) = keys;
        let (data_after, changed_from) = images;
        let (occurred_at, actor_ref, on_behalf_of) = who;
        let (source, correlation_id, request_id, job_id) = cause;
        let (remote_ip, meta, database_role, application_name) = rest;
        Ok(Self {
            position: TimelineCursor { captured_at, id },
            transaction_id,
            table_schema,
            table_name,
            op,
            table_pk,
            row_key,
            moved_key,
            data_after,
            changed_from,
            occurred_at,
            actor_ref,
            on_behalf_of,
            source,
            correlation_id,
            request_id,
            job_id,
            remote_ip,
            meta,
            database_role,
            application_name,
            actions,
        })
    }
}
