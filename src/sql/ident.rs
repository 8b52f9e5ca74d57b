use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{QueryBuilder, QueryFragment};

/// The SQL that Diesel writes for a fragment without bind values: the one place where names are quoted.
pub(crate) fn rendered(fragment: &impl QueryFragment<Pg>) -> String {
    let mut builder = PgQueryBuilder::new();
    fragment
        .to_sql(&mut builder, &Pg)
        .expect("names of tables and columns always render");
    builder.finish()
}
