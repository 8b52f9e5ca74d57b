//! What `threadline::as_of` finds in a statement, beside what PostgreSQL's own parser finds.

use std::collections::BTreeMap;

use pg_query::ParserOptions;
use pg_query::protobuf::node::Node;

// The modules of Threadline under test, without the rest of it.
#[cfg(test)]
#[path = "../../src/sql/random_queries.rs"]
mod random_queries;
#[allow(unreachable_pub)]
#[path = "../../src/sql/relations.rs"]
mod relations;
#[allow(dead_code)]
#[path = "../../src/sql/tokens.rs"]
mod tokens;

/// Panics if Threadline misses a table that PostgreSQL reads, whatever `standard_conforming_strings` says. What Threadline
/// refuses is no miss.
pub fn compare(statement: &str) {
    let Ok(found) = relations::relations(statement) else {
        return;
    };
    for options in [
        ParserOptions::DEFAULT,
        ParserOptions::DISABLE_STANDARD_CONFORMING_STRINGS,
    ] {
        if let Some(read) = tables(statement, options) {
            compare_with(statement, read, &found);
        }
    }
}

fn compare_with(
    statement: &str,
    mut missed: BTreeMap<String, isize>,
    found: &[relations::Relation],
) {
    for relation in found {
        let path: Vec<_> = relation.path.iter().map(|name| shown(name)).collect();
        if let Some(count) = missed.get_mut(&path.join(".")) {
            *count -= 1;
        }
    }
    missed.retain(|_, count| *count > 0);
    assert!(
        missed.is_empty(),
        "missed {missed:?}, found {found:?} in:\n{statement}"
    );
}

/// How often a query names each table; nothing for what is no query.
fn tables(statement: &str, options: ParserOptions) -> Option<BTreeMap<String, isize>> {
    if statement.contains('\0') {
        return None;
    }
    let parsed = pg_query::parse(statement, options).ok()?.protobuf;
    let [statement] = parsed.stmts.as_slice() else {
        return None;
    };
    let node = statement.stmt.as_ref()?.node.as_ref()?;
    matches!(node, Node::SelectStmt(_)).then_some(())?;
    // The walk of `pg_query` leaves nodes out. In this text a quote that begins a string is unlike any in a string.
    let tree = format!("{node:?}");
    let mut tables = BTreeMap::new();
    for table in tree.split("RangeVar { catalogname: \"").skip(1) {
        let mut names = table.splitn(3, ", schemaname: \"");
        names.next();
        let (schema, rest) = names.next()?.split_once("\", relname: \"")?;
        let (name, _) = rest.split_once("\", inh: ")?;
        let path = if schema.is_empty() {
            name.to_owned()
        } else {
            format!("{schema}.{name}")
        };
        *tables.entry(path).or_default() += 1;
    }
    Some(tables)
}

/// A name as it stands in the tree: PostgreSQL cuts it to 63 bytes.
fn shown(name: &str) -> String {
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let shown = format!("{:?}", &name[..end]);
    shown[1..shown.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::tables;
    use pg_query::ParserOptions;

    /// PostgreSQL finds the tables of subqueries wherever they stand.
    #[test]
    fn the_oracle_sees_every_table() {
        let sql = r#"SELECT (SELECT 1 FROM a), ARRAY(TABLE b) FROM s."c""d", ROWS FROM (f((SELECT x FROM e))) AS r,
            JSON_TABLE((SELECT j FROM g), '$' COLUMNS (x int PATH '$')) AS t, XMLTABLE('/' PASSING (SELECT d FROM h) COLUMNS y int) AS u
            WHERE 'RangeVar { catalogname: "' <> '' ORDER BY (SELECT z FROM i) LIMIT (SELECT 1 FROM a)"#;
        let tables: Vec<_> = tables(sql, ParserOptions::DEFAULT)
            .unwrap()
            .into_iter()
            .collect();
        let expected = [
            ("a", 2),
            ("b", 1),
            ("e", 1),
            ("g", 1),
            ("h", 1),
            ("i", 1),
            (r#"s.c\"d"#, 1),
        ];
        assert_eq!(
            tables,
            expected.map(|(name, count)| (name.to_owned(), count))
        );
        assert_eq!(
            super::tables("UPDATE a SET x = 1", ParserOptions::DEFAULT),
            None
        );
    }
}
