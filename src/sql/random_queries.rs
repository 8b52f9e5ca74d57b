//! Random queries whose tables are known, for property tests.

use proptest::prelude::*;

use super::relations::relations;

/// SQL and the tables it reads.
type Sql = (String, Vec<&'static str>);

/// Fills the places marked with `#` in a template.
fn filled(template: &str, parts: Vec<Sql>) -> Sql {
    let mut places = template.split('#');
    let mut sql = places.next().unwrap_or_default().to_owned();
    let mut tables = Vec::new();
    for ((part, read), place) in parts.into_iter().zip(places) {
        sql += &part;
        sql += place;
        tables.extend(read);
    }
    (sql, tables)
}

/// One of the templates, filled with as many parts as the longest template has places.
fn any_of(
    templates: &'static [&'static str],
    part: impl Strategy<Value = Sql> + 'static,
) -> BoxedStrategy<Sql> {
    let parts = proptest::collection::vec(part, 4);
    (prop::sample::select(templates), parts)
        .prop_map(|(template, parts)| filled(template, parts))
        .boxed()
}

fn read() -> BoxedStrategy<Sql> {
    let tables = [
        ("a", "a"),
        ("B", "b"),
        (r#""C d""#, "C d"),
        ("s . e", "s.e"),
        (r#""s"."f""#, "s.f"),
        ("s/* FROM x */.g -- , y\n", "s.g"),
        (r#""from""#, "from"),
        ("rows", "rows"),
        ("values", "values"),
        ("ONLY h", "h"),
    ];
    let one = prop::sample::select(tables.to_vec());
    one.prop_map(|(sql, table)| (sql.to_owned(), vec![table]))
        .boxed()
}

fn expression(query: &BoxedStrategy<Sql>) -> BoxedStrategy<Sql> {
    const LEAVES: &[&str] = &[
        "1",
        "'it''s FROM x, y'",
        r"E'\' FROM x'",
        "$$ ' FROM x $$",
        "$q$ $$ FROM x $q$",
        r"U&'\0061 FROM x'",
        "B'01'",
        "extract(year FROM now())",
        "substring('a' FROM 1 FOR 2)",
        "trim(BOTH FROM 'x')",
        "overlay('a' PLACING 'b' FROM 1)",
        "1 IS NOT DISTINCT FROM 2",
        "sum(1) OVER (PARTITION BY 1, 2 ORDER BY 3, 4 ROWS UNBOUNDED PRECEDING)",
        "mode() WITHIN GROUP (ORDER BY 1)",
        r#"1::"type""#,
        "'{}' IS JSON WITH UNIQUE KEYS",
        "timestamp with time zone 'x'",
        "$1",
        "t.from",
        "+-- FROM x\n1",
        "- /* /* FROM x */ , y */ 1",
    ];
    const NESTED: &[&str] = &[
        "(#)",
        "EXISTS (#)",
        "ARRAY(#)",
        "1 IN (#)",
        "CASE WHEN 1 IN (#) THEN (#) END",
        "1 = ANY (ARRAY[2, (#), 3])",
        "(x[(#):2]).select",
        "f((#), (#) ORDER BY 1, 2)",
    ];
    let leaf = prop::sample::select(LEAVES).prop_map(|sql| (sql.to_owned(), Vec::new()));
    prop_oneof![3 => leaf, 1 => any_of(NESTED, query.clone())].boxed()
}

fn item(query: &BoxedStrategy<Sql>) -> BoxedStrategy<Sql> {
    let of_query = any_of(&["(#) AS q (x, y)", "LATERAL (#) l"], query.clone());
    let of_values = any_of(
        &[
            "generate_series(1, #) WITH ORDINALITY AS g (x, y)",
            "ROWS FROM (f(1, #) AS (x int, y int), g()) AS r (x, y)",
            "(VALUES (1, #), (#, 2)) AS v",
            "XMLTABLE('/r' PASSING # COLUMNS x int, y int)",
        ],
        expression(query),
    );
    let named = any_of(&["#", "# AS t (x, y)", "# TABLESAMPLE system (1)"], read());
    let one = prop_oneof![4 => named, 1 => of_query, 1 => of_values].boxed();
    let joined = (one.clone(), one.clone(), expression(query)).prop_flat_map(|parts| {
        let (left, right, on) = parts;
        prop::sample::select(vec![
            "# JOIN # ON #",
            "(# LEFT OUTER JOIN # ON (#))",
            "# CROSS JOIN #",
            "((# NATURAL JOIN #))",
            "# FULL JOIN # USING (x, y) AS u",
        ])
        .prop_map(move |template| filled(template, vec![left.clone(), right.clone(), on.clone()]))
    });
    prop_oneof![2 => one, 1 => joined].boxed()
}

fn queries() -> BoxedStrategy<Sql> {
    any_of(&["TABLE #", "SELECT 1 FROM #"], read())
        .prop_recursive(3, 24, 4, |query| {
            let query = query.boxed();
            let from = (expression(&query), item(&query), item(&query), expression(&query));
            let selected = from.prop_flat_map(|(value, first, second, condition)| {
                prop::sample::select(vec![
                    "SELECT # FROM #, # WHERE #",
                    "SELECT DISTINCT ON (1, 2) #, 1 AS from FROM #, # GROUP BY #, 1",
                    "SELECT #, 1 FROM #, # ORDER BY #, 1 LIMIT 1 OFFSET 1",
                    "(SELECT # FROM #, # HAVING #)",
                    "SELECT # FROM #, # WINDOW w AS (ORDER BY #, 1), v AS () FETCH FIRST 1 ROW WITH TIES",
                ])
                .prop_map(move |template| {
                    let parts = [&value, &first, &second, &condition];
                    filled(template, parts.map(Clone::clone).to_vec())
                })
            });
            let combined = any_of(
                &["(#) UNION ALL (#) ORDER BY 1, 2", "(#) EXCEPT (#) INTERSECT (#)", "VALUES (1, (#)), (2, 3)"],
                query.clone(),
            );
            prop_oneof![3 => selected, 1 => combined]
        })
        .boxed()
}

proptest! {
    /// All tables of a query are found, and nothing else, whatever surrounds them.
    #[test]
    fn tables_of_any_query((sql, mut tables) in queries()) {
        let found = relations(&sql).map_err(TestCaseError::fail)?;
        let mut found: Vec<_> = found.iter().map(|relation| relation.path.join(".")).collect();
        found.sort_unstable();
        tables.sort_unstable();
        prop_assert_eq!(found, tables, "{}", sql);
    }
}
