use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::page::ExportRow;

/// A change in its JSON form.
#[derive(Serialize)]
pub(super) struct Change<'a> {
    /// A string, because many JSON readers have no integers beyond 2^53.
    id: String,
    transaction_id: uuid::Uuid,
    table_schema: &'a str,
    table_name: &'a str,
    op: &'a str,
    captured_at: String,
    table_pk: &'a RawValue,
    data_after: Option<&'a RawValue>,
    changed_fields: Keys<'a>,
    changed_from: &'a RawValue,
    transaction: Transaction<'a>,
    row_key: Option<&'a str>,
    moved_key: Option<&'a str>,
    actions: &'a RawValue,
}

/// The context of a change: that of its transaction, or of the nested transaction that made it.
#[derive(Serialize)]
pub(super) struct Transaction<'a> {
    id: uuid::Uuid,
    occurred_at: Option<String>,
    actor_ref: Option<&'a RawValue>,
    on_behalf_of: Option<&'a RawValue>,
    source: Option<&'a str>,
    correlation_id: Option<&'a str>,
    request_id: Option<&'a str>,
    job_id: Option<&'a str>,
    remote_ip: Option<&'a str>,
    meta: Option<&'a RawValue>,
    database_role: Option<&'a str>,
    application_name: Option<&'a str>,
}

impl<'a> Change<'a> {
    pub(super) fn of(row: &'a ExportRow) -> serde_json::Result<Self> {
        Ok(Self {
            id: row.position.id().to_string(),
            transaction_id: row.transaction_id,
            table_schema: &row.table_schema,
            table_name: &row.table_name,
            op: &row.op,
            captured_at: time(row.position.captured_at()),
            table_pk: raw(&row.table_pk)?,
            data_after: maybe_raw(row.data_after.as_ref())?,
            changed_fields: changed_fields(row)?,
            changed_from: raw(row.changed_from.as_deref().unwrap_or("{}"))?,
            transaction: Transaction::of(row)?,
            row_key: row.row_key.as_deref(),
            moved_key: row.moved_key.as_deref(),
            actions: raw(&row.actions)?,
        })
    }
}

impl<'a> Transaction<'a> {
    pub(super) fn of(row: &'a ExportRow) -> serde_json::Result<Self> {
        Ok(Self {
            id: row.transaction_id,
            occurred_at: row.occurred_at.map(time),
            actor_ref: maybe_raw(row.actor_ref.as_ref())?,
            on_behalf_of: maybe_raw(row.on_behalf_of.as_ref())?,
            source: row.source.as_deref(),
            correlation_id: row.correlation_id.as_deref(),
            request_id: row.request_id.as_deref(),
            job_id: row.job_id.as_deref(),
            remote_ip: row.remote_ip.as_deref(),
            meta: maybe_raw(row.meta.as_ref())?,
            database_role: row.database_role.as_deref(),
            application_name: row.application_name.as_deref(),
        })
    }
}

pub(super) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn raw(json: &str) -> serde_json::Result<&RawValue> {
    serde_json::from_str(json)
}

fn maybe_raw(json: Option<&String>) -> serde_json::Result<Option<&RawValue>> {
    json.map(|json| raw(json)).transpose()
}

/// All columns, if the row was created or removed. Computed here, because the server has more work
/// to do than the client.
pub(super) fn changed_fields(row: &ExportRow) -> serde_json::Result<Keys<'_>> {
    let image = row.changed_from.as_deref().or(row.data_after.as_deref());
    serde_json::from_str(image.unwrap_or("{}"))
}

/// The keys of an object, in their original order.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Keys<'a>(Vec<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Keys<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys<'de>, A::Error> {
        let mut keys = Vec::new();
        while let Some((Key(key), IgnoredAny)) = map.next_entry()? {
            keys.push(key);
        }
        Ok(Keys(keys))
    }
}

/// A key, borrowed where possible.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
