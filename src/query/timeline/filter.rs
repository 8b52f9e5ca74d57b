use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Integer, Jsonb, Nullable, Uuid};
use serde_json::{Map, Value};

use crate::context::ActorRef;

/// What a page is narrowed down to, as the functions of the timeline read it.
#[derive(Debug, Clone)]
pub(crate) struct Filter(pub(crate) Value);

impl Filter {
    pub(super) fn new() -> Self {
        Self(Value::Object(Map::new()))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some()
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0[key] = value.into();
    }

    pub(super) fn add(&mut self, key: &str, value: impl Into<Value>) {
        match &mut self.0[key] {
            Value::Array(values) => values.push(value.into()),
            values => *values = Value::Array(vec![value.into()]),
        }
    }

    pub(super) fn set_actor(&mut self, key: &str, actor: &ActorRef) {
        self.set(key, serde_json::to_value(actor).unwrap_or_default());
    }

    /// To the microsecond, as PostgreSQL keeps it.
    pub(super) fn set_time(&mut self, key: &str, time: DateTime<Utc>) {
        self.set(key, time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
    }
}

impl QueryFragment<Pg> for Filter {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<Jsonb, _>(&self.0)
    }
}

/// A page of what has ids in the order of time.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) filter: Filter,
    pub(super) before: Option<uuid::Uuid>,
    pub(super) limit: i32,
}

impl Page {
    pub(super) fn new() -> Self {
        Self {
            filter: Filter::new(),
            before: None,
            limit: 50,
        }
    }

    /// `function($1, $2, $3)`.
    pub(super) fn walk<'b>(
        &'b self,
        function: &str,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        out.push_sql(function);
        out.push_sql("(");
        self.filter.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Uuid>, _>(&self.before)?;
        out.push_sql(", ");
        out.push_bind_param::<Integer, _>(&self.limit)?;
        out.push_sql(")");
        Ok(())
    }
}
