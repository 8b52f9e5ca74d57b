use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, Jsonb, Nullable, Text};
use serde_json::{Map, Value};

use crate::context::ActorRef;

/// The filters of a page, in the form that the database functions accept.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    fields: Value,
    /// Only a timeline has tables.
    tables: Option<Vec<String>>,
}

impl Filter {
    pub(super) fn new(table: Option<String>) -> Self {
        Self {
            fields: Value::Object(Map::new()),
            tables: table.map(|table| vec![table]),
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        match key {
            "tables" => self.tables.is_some(),
            key => self.fields.get(key).is_some(),
        }
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.fields[key] = value.into();
    }

    pub(super) fn add(&mut self, key: &str, value: impl Into<Value>) {
        match &mut self.fields[key] {
            Value::Array(values) => values.push(value.into()),
            values => *values = Value::Array(vec![value.into()]),
        }
    }

    pub(super) fn add_table(&mut self, name: String) {
        self.tables.get_or_insert_default().push(name);
    }

    pub(super) fn set_actor(&mut self, key: &str, actor: &ActorRef) {
        self.set(key, serde_json::to_value(actor).unwrap_or_default());
    }

    /// Sets a time with microseconds, the precision of PostgreSQL.
    pub(super) fn set_time(&mut self, key: &str, time: DateTime<Utc>) {
        self.set(key, time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
    }

    /// The fields, including the names of the tables.
    #[cfg(all(feature = "export", feature = "__connection"))]
    pub(crate) fn to_json(&self) -> Value {
        let mut json = self.fields.clone();
        if let Some(tables) = &self.tables {
            json["tables"] = tables.clone().into();
        }
        json
    }

    /// Writes `$1, $2`: the fields and the tables. The server resolves the names with the session's
    /// `search_path`.
    pub(super) fn walk_with_tables<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Array<Text>>, _>(&self.tables)?;
        out.push_sql("::pg_catalog.regclass[]");
        Ok(())
    }
}

/// Writes the fields alone.
impl QueryFragment<Pg> for Filter {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<Jsonb, _>(&self.fields)
    }
}
