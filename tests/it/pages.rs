//! The SQL of all pages names functions and arguments that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_types::Text;
use threadline_test_support::Database;

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guides = fs::read_dir(root.join("docs")).expect("there are guides");
    let guides = guides.map(|entry| entry.expect("it can be read").path());
    ["README.md", "DESIGN.md", "RELEASING.md"]
        .map(|page| root.join(page))
        .into_iter()
        .chain(guides)
        .collect()
}

/// The text between "```sql" and "```" of a page.
fn sql_of(page: &str) -> impl Iterator<Item = &str> {
    page.split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `threadline.name(` in SQL.
fn called(sql: &str) -> impl Iterator<Item = &str> {
    sql.split("threadline.").skip(1).filter_map(|rest| {
        let (name, after) = rest.split_at(rest.find(|c| !is_of_name(c))?);
        after.starts_with('(').then_some(name)
    })
}

/// `name =>` in SQL.
fn arguments(sql: &str) -> impl Iterator<Item = &str> {
    let before = sql.split("=>").map(str::trim_end);
    before
        .filter_map(|text| text.rsplit(|c| !is_of_name(c)).next())
        .filter(|name| !name.is_empty())
        .take(sql.matches("=>").count())
}

#[test]
fn sql_of_pages_names_what_there_is() {
    let database = Database::new();
    let mut conn = database.connect();
    let known: BTreeSet<String> = diesel::sql_query(
        "SELECT DISTINCT n.name FROM pg_proc AS p
          CROSS JOIN LATERAL unnest(p.proargnames || p.proname::text) AS n (name)
          WHERE p.pronamespace = 'threadline'::regnamespace",
    )
    .load::<Name>(&mut conn)
    .expect("the catalog can be read")
    .into_iter()
    .map(|row| row.name)
    .collect();
    let mut found = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).expect("a page can be read");
        for sql in sql_of(&page) {
            let functions: BTreeSet<_> = called(sql).collect();
            for name in functions.into_iter().chain(arguments(sql)) {
                found += 1;
                assert!(known.contains(name), "{}: {name} in {sql}", path.display());
            }
        }
    }
    assert!(found > 50, "only {found} names were found");
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}
