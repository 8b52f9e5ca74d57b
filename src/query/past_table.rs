use std::cell::Cell;

use diesel::QueryResult;
use diesel::internal::derives::multiconnection::AstPassHelper;
use diesel::pg::{Pg, PgQueryBuilder};
use diesel::query_builder::{AstPass, QueryBuilder, QueryFragment};

/// How a table of the past is called in a query.
///
/// Diesel writes columns as `"users"."name"` or, with a schema, `"blog"."posts"."title"`. The first may refer to
/// anything called `"users"`; the second only to the real table, so there the query is given another name.
#[derive(Debug, Clone)]
pub struct PastTable {
    /// As Diesel writes it.
    table: String,
    /// As it is called here.
    alias: String,
}

impl PastTable {
    pub(super) fn new(table: String) -> Self {
        let alias = table.replace(r#"".""#, ".");
        Self { table, alias }
    }

    pub(super) fn table(&self) -> &str {
        &self.table
    }

    pub(super) fn alias(&self) -> &str {
        &self.alias
    }

    /// Writes a fragment with the table's columns under the alias.
    pub(super) fn walk<'b>(
        &self,
        fragment: &'b impl QueryFragment<Pg>,
        mut out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        if self.table == self.alias {
            return fragment.walk_ast(out);
        }
        // Only the writing pass has a builder; in the others nothing is called and `before` stays empty.
        let before = Cell::new(None);
        with_builder(&mut out, &|builder| {
            let sql = std::mem::take(builder).finish();
            let binds = highest_placeholder(&sql);
            advance(builder, binds);
            before.set(Some(sql));
        });
        fragment.walk_ast(out.reborrow())?;
        let before = before.take();
        with_builder(&mut out, &|builder| {
            let sql = std::mem::take(builder).finish();
            let column_of = |name: &str| format!("{name}.");
            let renamed = rename(&sql, &column_of(&self.table), &column_of(&self.alias));
            let whole = before.clone().unwrap_or_default() + &renamed;
            advance(builder, highest_placeholder(&whole));
            builder.push_sql(&whole);
        });
        Ok(())
    }
}

/// Calls `edit` if this is the pass that writes the SQL. (A cast from `Pg` to `Pg` runs the converter of the pass.)
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

/// The builder does not tell its counter. The placeholders do; what looks like one in a name or literal is none.
fn highest_placeholder(sql: &str) -> u32 {
    let mut highest = 0;
    for (position, _) in bare_positions(sql).filter(|&(_, byte)| byte == b'$') {
        let rest = &sql[position + 1..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        highest = highest.max(rest[..digits].parse().unwrap_or(0));
    }
    highest
}

/// Replaces a run of quoted names, but not where it is a part of a literal or of another name.
fn rename(sql: &str, name: &str, new_name: &str) -> String {
    let mut renamed = String::with_capacity(sql.len());
    let mut copied = 0;
    for (position, _) in bare_positions(sql) {
        if position >= copied && sql[position..].starts_with(name) {
            renamed += &sql[copied..position];
            renamed += new_name;
            copied = position + name.len();
        }
    }
    renamed + &sql[copied..]
}

/// The bytes of a statement that stand outside of names and literals, and the quotes that open one.
fn bare_positions(sql: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    let (mut quote, mut closed) = (None, None);
    sql.bytes().enumerate().filter(move |&(_, byte)| {
        let reopened = closed.take() == Some(byte); // a doubled quote goes on with what it seemed to end
        match quote {
            Some(open) if open == byte => closed = quote.take(),
            Some(_) => {}
            None if byte == b'\'' || byte == b'"' => {
                quote = Some(byte);
                return !reopened;
            }
            None => return true,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::{highest_placeholder, rename};

    /// Names and literals hold neither placeholders nor tables.
    #[test]
    fn names_and_literals_are_skipped() {
        let sql = r#"SELECT "b"."t"."price$9", '$100 "b"."t".', "x""b"."t"."y" FROM f($1, $12)"#;
        assert_eq!(highest_placeholder(sql), 12);
        assert_eq!(
            rename(sql, r#""b"."t"."#, r#""b.t"."#),
            r#"SELECT "b.t"."price$9", '$100 "b"."t".', "x""b"."t"."y" FROM f($1, $12)"#
        );
    }
}
