use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};

use super::Literal;
use super::ident::quoted;
use super::relations::relations;
use super::rewrite::{column_prefixes, replace, walk_edited};

/// The names of the table of a history in its query.
#[derive(Debug, Clone)]
pub struct PastTable {
    /// The name as Diesel writes it.
    table: String,
    /// The alias in this query.
    alias: String,
    /// The schema, if there is one, and the name.
    path: Vec<String>,
}

impl PastTable {
    pub(crate) fn new(table: String) -> Self {
        let alias = table.replace(r#"".""#, ".");
        let path = relations(&format!("TABLE {table}"))
            .ok()
            .and_then(|mut relations| relations.pop())
            .map_or_else(Vec::new, |relation| relation.path);
        Self { table, alias, path }
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    pub(crate) fn alias(&self) -> &str {
        &self.alias
    }

    pub(crate) fn path(&self) -> &[String] {
        &self.path
    }

    /// The start of a call of the table's function. Its first argument is a row of the table, by
    /// which the function checks that it reads the right table.
    pub(crate) fn call(&self, function: &str) -> String {
        format!("{}(NULL::{}", function_of(function, &self.path), self.table)
    }

    /// The start of a query that is refused if the table is not audited.
    pub(crate) fn with_audited(&self) -> String {
        format!(
            "WITH {} ",
            audited("\"threadline_audited\"", [&*self.table])
        )
    }

    /// Writes a fragment with the alias in place of the table's name in its columns.
    pub(crate) fn walk<'b>(
        &self,
        fragment: &'b impl QueryFragment<Pg>,
        out: AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        if self.table == self.alias {
            return fragment.walk_ast(out);
        }
        walk_edited(fragment, out, &|sql| {
            let columns = column_prefixes(sql, &self.path).into_iter();
            replace(
                sql,
                columns.map(|range| (range, self.alias.as_str())).collect(),
            )
        })
    }
}

/// The name of a table's function, as `threadline_internal.name_in_functions` forms it. The planner
/// inlines the function.
pub(crate) fn function_of(function: &str, path: &[String]) -> String {
    let name = path[path.len().saturating_sub(2)..].join(".");
    let name = if name.len() > 53 {
        let number = name.bytes().fold(0, |number: u64, byte| {
            (number * 257 + u64::from(byte)) % 9_007_199_254_740_881
        });
        format!("#{number}")
    } else {
        name
    };
    format!(
        "threadline_internal.{}",
        quoted(&format!("{function} {name}"))
    )
}

/// A member of `WITH` that makes the query fail during parsing if one of the tables is not audited.
/// Nothing reads it.
pub(crate) fn audited<'a>(name: &str, tables: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = tables
        .into_iter()
        .map(|table| format!("\"{}\"", table.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    let names = format!("{{{}}}", names.join(","));
    format!(
        "{name} AS (SELECT {}::threadline_internal.audited_name[])",
        Literal(&names)
    )
}

#[cfg(test)]
mod tests {
    use super::{audited, function_of};

    /// The name of a table in the names of its functions, whatever characters it contains.
    #[test]
    fn names_of_functions() {
        let path = |path: &[&str]| {
            function_of("as_of", &path.iter().map(|&p| p.into()).collect::<Vec<_>>())
        };
        assert_eq!(path(&["users"]), r#"threadline_internal."as_of users""#);
        assert_eq!(
            path(&["blog", "a\"b"]),
            r#"threadline_internal."as_of blog.a""b""#
        );
        assert_eq!(
            path(&[&"ä".repeat(27)]),
            r#"threadline_internal."as_of #8264086347330778""#
        );
    }

    /// Quotes and backslashes in a name end neither the array element nor the literal.
    #[test]
    fn names_of_audited_tables() {
        assert_eq!(
            audited("a", [r#""users""#, r#""it's"."\""#]),
            r#"a AS (SELECT  E'{"\\"users\\"","\\"it''s\\".\\"\\\\\\""}'::threadline_internal.audited_name[])"#
        );
    }
}
