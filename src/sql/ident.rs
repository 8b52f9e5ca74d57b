use diesel::QueryResult;
use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{QueryBuilder, QueryFragment};

/// Returns the SQL that Diesel writes for a fragment without bind values. Diesel quotes the names.
pub(crate) fn rendered(fragment: &impl QueryFragment<Pg>) -> String {
    try_rendered(fragment).expect("names of tables and columns always render")
}

/// Quotes a name for PostgreSQL, whatever it contains.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns the SQL of a query that Diesel may be unable to render.
pub(crate) fn try_rendered(fragment: &impl QueryFragment<Pg>) -> QueryResult<String> {
    let mut builder = PgQueryBuilder::new();
    fragment.to_sql(&mut builder, &Pg)?;
    Ok(builder.finish())
}
