use diesel::QueryResult;
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{
    AsQuery, AstPass, Query, QueryBuilder, QueryFragment, QueryId, SelectQuery,
};
use diesel::sql_types::Timestamptz;

use super::live::LiveTables;
use super::moment::after_transaction;
use super::relations::{Relation, relations};
use super::rewrite::{column_prefixes, replace, walk_edited};
use crate::base::Error;

/// Runs a query against the past: every audited table in it has the rows that it had at that time.
pub fn as_of<At, Q>(at: At, query: Q) -> AsOf<At::Expression, Q::Query>
where
    At: AsExpression<Timestamptz>,
    Q: AsQuery,
    Q::Query: SelectQuery,
{
    AsOf {
        at: at.as_expression(),
        query: query.as_query(),
        live: (),
    }
}

/// Runs a query against the past.
pub fn as_of_transaction<Q>(
    id: uuid::Uuid,
    query: Q,
) -> AsOf<after_transaction<uuid::Uuid>, Q::Query>
where
    Q: AsQuery,
    Q::Query: SelectQuery,
{
    as_of(after_transaction(id), query)
}

/// A query against the past: made by [`as_of`] and [`as_of_transaction`].
#[derive(Debug, Clone, Copy)]
#[must_use = "a query does nothing until it is run"]
pub struct AsOf<At, Q, L = ()> {
    pub(super) at: At,
    pub(super) query: Q,
    pub(super) live: L,
}

impl<At, Q: Query, L> Query for AsOf<At, Q, L> {
    type SqlType = Q::SqlType;
}

/// The SQL depends on the types alone, which so can stand for it in the cache of prepared statements. It must be a type of its
/// own: under that of `Q`, the cached statement of the present would be run.
impl<At: QueryId, Q: QueryId, L: 'static> QueryId for AsOf<At, Q, L> {
    type QueryId = AsOf<At::QueryId, Q::QueryId, L>;
    const HAS_STATIC_QUERY_ID: bool = At::HAS_STATIC_QUERY_ID && Q::HAS_STATIC_QUERY_ID;
}

/// A table that a query reads, and what takes its place: `WITH "name" AS (…)`.
struct Past {
    path: Vec<String>,
    /// The table, quoted.
    table: String,
    /// What the query calls it, quoted: its own name, if it has no schema.
    name: String,
}

impl Past {
    /// The tables of a query, each once.
    fn of(relations: Vec<Relation>, live: &[Vec<String>]) -> Vec<Self> {
        let mut pasts: Vec<Self> = Vec::new();
        for Relation { path, .. } in relations {
            if live.contains(&path) || pasts.iter().any(|past| past.path == path) {
                continue;
            }
            let table = path
                .iter()
                .map(|name| quoted(name))
                .collect::<Vec<_>>()
                .join(".");
            let name = match path.len() {
                1 => table.clone(),
                _ => quoted(&format!("threadline_{}", pasts.len())),
            };
            pasts.push(Self { path, table, name });
        }
        pasts
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl<At, Q, L> AsOf<At, Q, L>
where
    Q: QueryFragment<Pg>,
    L: LiveTables,
{
    /// Read from the SQL and not from the types, which do not tell of subqueries and raw fragments.
    fn pasts(&self) -> QueryResult<Vec<Past>> {
        let mut builder = PgQueryBuilder::new();
        self.query.to_sql(&mut builder, &Pg)?;
        let relations = relations(&builder.finish())
            .map_err(|reason| Error::NotReadable(reason).into_query_error())?;
        Ok(Past::of(relations, &L::paths()))
    }
}

impl<At, Q, L> QueryFragment<Pg> for AsOf<At, Q, L>
where
    At: QueryFragment<Pg>,
    Q: QueryFragment<Pg>,
    L: LiveTables,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let pasts = self.pasts()?;
        for (position, past) in pasts.iter().enumerate() {
            out.push_sql(if position == 0 { "WITH " } else { ", " });
            out.push_sql(&past.name);
            // Computed whole, it would hide the indexes from a query that names the table twice.
            out.push_sql(" AS NOT MATERIALIZED (SELECT * FROM threadline.as_of(NULL::");
            out.push_sql(&past.table);
            out.push_sql(", ");
            self.at.walk_ast(out.reborrow())?;
            out.push_sql("))");
        }
        if !pasts.is_empty() {
            out.push_sql(" ");
        }
        if pasts.iter().all(|past| past.name == past.table) {
            return self.query.walk_ast(out);
        }
        walk_edited(&self.query, out, &|sql| renamed(sql, &pasts))
    }
}

/// The query with the names that tables with a schema have in it.
fn renamed(sql: &str, pasts: &[Past]) -> String {
    let mut edits = Vec::new();
    // What was read before without an error is read again.
    let relations = relations(sql).unwrap_or_default();
    for past in pasts.iter().filter(|past| past.name != past.table) {
        let read = relations
            .iter()
            .filter(|relation| relation.path == past.path);
        edits.extend(read.map(|relation| (relation.range.clone(), past.name.as_str())));
        let columns = column_prefixes(sql, &past.path).into_iter();
        edits.extend(columns.map(|range| (range, past.name.as_str())));
    }
    replace(sql, edits)
}
