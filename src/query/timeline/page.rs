use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz};

use super::filter::Filter;
use crate::query::rows::TimelineCursor;

/// A part of what a filter lets through, as the functions of the timeline take it.
#[derive(Debug, Clone)]
pub(crate) struct TimelinePage {
    pub(crate) filter: Filter,
    pub(crate) tables: Option<Vec<String>>,
    before_at: Option<DateTime<Utc>>,
    before_id: Option<i64>,
    pub(crate) limit: i32,
}

impl TimelinePage {
    pub(crate) fn new(table: Option<String>) -> Self {
        Self {
            filter: Filter::new(),
            tables: table.map(|table| vec![table]),
            before_at: None,
            before_id: None,
            limit: 50,
        }
    }

    pub(crate) fn before(&self) -> Option<TimelineCursor> {
        let (captured_at, id) = self.before_at.zip(self.before_id)?;
        Some(TimelineCursor { captured_at, id })
    }

    pub(crate) fn set_before(&mut self, TimelineCursor { captured_at, id }: TimelineCursor) {
        self.before_at = Some(captured_at);
        self.before_id = Some(id);
    }

    /// `function($1, $2, $3, $4, $5)`.
    pub(crate) fn walk<'b>(
        &'b self,
        function: &str,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        out.push_sql(function);
        out.push_sql("(");
        walk_filter(&self.filter, &self.tables, out.reborrow())?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Timestamptz>, _>(&self.before_at)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.before_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Integer, _>(&self.limit)?;
        out.push_sql(")");
        Ok(())
    }
}

/// The names of tables are looked up here, by the `search_path` of whoever asks.
#[expect(clippy::ref_option, reason = "as the bind parameter is borrowed")]
pub(super) fn walk_filter<'b>(
    filter: &'b Filter,
    tables: &'b Option<Vec<String>>,
    mut out: AstPass<'_, 'b, Pg>,
) -> QueryResult<()> {
    filter.walk_ast(out.reborrow())?;
    out.push_sql(", ");
    out.push_bind_param::<Nullable<Array<Text>>, _>(tables)?;
    out.push_sql("::pg_catalog.regclass[]");
    Ok(())
}
