//! Renames tables in the SQL that Diesel writes.
//!
//! Diesel writes columns as `"users"."name"` or, with a schema, as `"blog"."posts"."title"`. The
//! first form may refer to anything named `"users"`. The second can only refer to the real table,
//! so the query is rewritten to use another name.

use std::cell::Cell;

use diesel::QueryResult;
use diesel::internal::derives::multiconnection::AstPassHelper;
use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{AstPass, QueryBuilder, QueryFragment};

use super::tokens::{Token, tokens};

/// Writes a fragment as edited by `edit`. Bind values keep their order, and `edit` must keep their
/// places.
pub(crate) fn walk_edited<'b>(
    fragment: &'b impl QueryFragment<Pg>,
    mut out: AstPass<'_, 'b, Pg>,
    edit: &dyn Fn(&str) -> String,
) -> QueryResult<()> {
    // Only the pass that writes SQL has a builder. In the other passes, nothing is called and
    // `before` stays empty.
    let before = Cell::new(None);
    with_builder(&mut out, &|builder| {
        let sql = std::mem::take(builder).finish();
        advance(builder, highest_placeholder(&sql));
        before.set(Some(sql));
    });
    fragment.walk_ast(out.reborrow())?;
    let before = before.take();
    with_builder(&mut out, &|builder| {
        let sql = std::mem::take(builder).finish();
        let whole = before.clone().unwrap_or_default() + &edit(&sql);
        advance(builder, highest_placeholder(&whole));
        builder.push_sql(&whole);
    });
    Ok(())
}

/// Calls `edit` if this is the pass that writes the SQL. (A cast from `Pg` to `Pg` runs the
/// converter of the pass.)
fn with_builder(out: &mut AstPass<'_, '_, Pg>, edit: &dyn Fn(&mut PgQueryBuilder)) {
    out.reborrow().cast_database::<Pg>(
        |collector| collector,
        |builder| {
            edit(builder);
            builder
        },
        |backend| backend,
        |lookup| lookup,
    );
}

fn advance(builder: &mut PgQueryBuilder, binds: u32) {
    for _ in 0..binds {
        builder.push_bind_param_value_only();
    }
}

/// The builder does not expose its counter, but the placeholders show it. A name or literal that
/// looks like a placeholder does not count.
fn highest_placeholder(sql: &str) -> u32 {
    let numbers = tokens(sql).iter().filter_map(Token::placeholder).max();
    numbers.unwrap_or(0)
}

/// Returns the ranges of `"schema"."table"` inside the names of columns.
pub(crate) fn column_prefixes(sql: &str, path: &[String]) -> Vec<std::ops::Range<usize>> {
    let tokens = tokens(sql);
    let length = 2 * path.len();
    let mut ranges = Vec::new();
    for (position, window) in tokens.windows(length + 1).enumerate() {
        let begins = position == 0 || !tokens[position - 1].is_symbol(".");
        let names = window[..length].chunks(2).map(|pair| pair[0].name());
        let dots = window[..length]
            .chunks(2)
            .all(|pair| pair[1].is_symbol("."));
        if begins && dots && names.eq(path.iter().map(|name| Some(name.into()))) {
            ranges.push(window[0].start..window[length - 2].range().end);
        }
    }
    ranges
}

/// Replaces parts of a statement, given in any order.
pub(crate) fn replace(sql: &str, mut parts: Vec<(std::ops::Range<usize>, &str)>) -> String {
    parts.sort_by_key(|(range, _)| range.start);
    let mut replaced = String::with_capacity(sql.len());
    let mut copied = 0;
    for (range, new) in parts {
        replaced += &sql[copied..range.start];
        replaced += new;
        copied = range.end;
    }
    replaced + &sql[copied..]
}

#[cfg(test)]
mod tests {
    use super::{column_prefixes, highest_placeholder, replace};

    /// Names and literals contain neither placeholders nor tables.
    #[test]
    fn names_and_literals_are_skipped() {
        let sql = r#"SELECT "b"."t"."price$9", '$100 "b"."t".', "x""b"."t"."y", "a"."b"."t"."z", "b"."t" FROM f($1, $12)"#;
        assert_eq!(highest_placeholder(sql), 12);
        let path = ["b".to_owned(), "t".to_owned()];
        let parts = column_prefixes(sql, &path)
            .into_iter()
            .map(|range| (range, r#""b.t""#));
        assert_eq!(
            replace(sql, parts.collect()),
            r#"SELECT "b.t"."price$9", '$100 "b"."t".', "x""b"."t"."y", "a"."b"."t"."z", "b"."t" FROM f($1, $12)"#
        );
    }
}
