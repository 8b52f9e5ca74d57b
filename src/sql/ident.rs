use diesel::QueryResult;
use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{QueryBuilder, QueryFragment};

/// The SQL that Diesel writes for a fragment without bind values: the one place where names are quoted.
pub(crate) fn rendered(fragment: &impl QueryFragment<Pg>) -> String {
    try_rendered(fragment).expect("names of tables and columns always render")
}

/// A name as PostgreSQL takes it, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The SQL of a query that may not render.
pub(crate) fn try_rendered(fragment: &impl QueryFragment<Pg>) -> QueryResult<String> {
    let mut builder = PgQueryBuilder::new();
    fragment.to_sql(&mut builder, &Pg)?;
    Ok(builder.finish())
}
