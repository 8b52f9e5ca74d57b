use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};

use super::relations::relations;
use super::rewrite::{column_prefixes, replace, walk_edited};

/// How the table of a history is called in its query.
#[derive(Debug, Clone)]
pub struct PastTable {
    /// As Diesel writes it.
    table: String,
    /// As it is called here.
    alias: String,
    /// Its schema, if it has one, and its name.
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

    /// Writes a fragment with the table's columns under the alias.
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
