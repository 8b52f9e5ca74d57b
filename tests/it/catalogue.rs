//! The conventions, held by the catalog of a migrated database and by the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use threadline::schema::threadline as schema;
use threadline_test_support::Database;

use crate::common::{database, run};

/// Functions without a pinned `search_path`, which would keep the planner from inlining them: some are called for
/// every statement or row, and conditions on those that give rows reach the indexes. They name everything with its schema instead.
const INLINED_FUNCTIONS: [&str; 16] = [
    "action_json",
    "as_of",
    "change_context",
    "context_of",
    "insert_in_progress",
    "key_of",
    "long_after",
    "row_of",
    "timeline",
    "timeline_export",
    "timeline_rows",
    "timeline_tables",
    "transaction_actions",
    "transaction_id",
    "uuid_v7",
    "versions",
];

/// What each layer may use: those to its left, in the one direction of the design. The front pages use all.
const LAYERS: [&str; 6] = ["base", "capture", "context", "query", "ops", "web"];
const FRONT_PAGES: [&str; 2] = ["lib.rs", "prelude.rs"];

const MAX_LINES: usize = 400;

/// A migrated database with every kind of generated function: keys of all types, composite and none, partitions.
fn with_audited_tables() -> (Database, PgConnection) {
    let (database, mut conn) = database(
        "CREATE TABLE numbered (id integer PRIMARY KEY, note text);
         CREATE TABLE named (name text PRIMARY KEY, secret text);
         CREATE TABLE paired (a bigint, b uuid, PRIMARY KEY (a, b));
         CREATE TABLE keyless (note text);
         CREATE TABLE parted (day date PRIMARY KEY, note text) PARTITION BY RANGE (day);
         CREATE TABLE parted_rest PARTITION OF parted DEFAULT;
         CREATE TABLE parted_keyless (day date) PARTITION BY RANGE (day);",
    );
    for table in [
        "numbered",
        "named', exclude => '{secret}",
        "paired",
        "keyless', granularity => 'row",
        "parted",
        "parted_keyless",
    ] {
        run(
            &mut conn,
            &format!("SELECT threadline.audit_table('{table}')"),
        );
    }
    (database, conn)
}

/// The lines that a query gives, each of which breaks a rule.
#[track_caller]
fn names(conn: &mut PgConnection, sql: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let lines: Vec<Line> = diesel::sql_query(sql)
        .load(conn)
        .unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
    lines.into_iter().map(|line| line.name).collect()
}

/// Every table, column, view, index and function has a comment, the generated ones included.
#[test]
fn everything_has_a_comment() {
    let (_database, mut conn) = with_audited_tables();
    let functions = names(
        &mut conn,
        "SELECT oid::regprocedure::text AS name FROM pg_proc
          WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND obj_description(oid, 'pg_proc') IS NULL ORDER BY 1",
    );
    assert!(functions.is_empty(), "functions without: {functions:#?}");
    let relations = names(
        &mut conn,
        "SELECT c.oid::regclass::text AS name FROM pg_class AS c
          WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
            -- A composite type has the comment of a type; a sequence belongs to its column; the index of a constraint, to the constraint; that of a partition, to
            -- the index it is a part of.
            AND c.relkind NOT IN ('c', 'S') AND NOT (c.relkind = 'i' AND c.relispartition)
            AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid)
            AND obj_description(c.oid, 'pg_class') IS NULL ORDER BY 1",
    );
    assert!(relations.is_empty(), "relations without: {relations:#?}");
    let columns = names(
        &mut conn,
        "SELECT a.attrelid::regclass || '.' || a.attname AS name FROM pg_attribute AS a
           JOIN pg_class AS c ON c.oid = a.attrelid
          WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND c.relkind IN ('r', 'p', 'v')
            -- Those of a partition are explained at the table it belongs to, those of a view at its tables.
            AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
            AND col_description(a.attrelid, a.attnum) IS NULL ORDER BY 1",
    );
    assert!(columns.is_empty(), "columns without: {columns:#?}");
    let schemas = names(
        &mut conn,
        "SELECT obj_description(oid, 'pg_namespace') AS name FROM pg_namespace WHERE nspname IN ('threadline', 'threadline_internal')",
    );
    assert_eq!(schemas.len(), 2, "each schema says what it is");
    for comment in schemas {
        assert!(comment.starts_with("Threadline: "), "{comment}");
    }
}

/// Every function pins its `search_path`, with `pg_temp` last, where nobody's temporary objects come first; but for a
/// named few that the planner must inline, and those run with the rights of the caller.
#[test]
fn functions_pin_search_path() {
    let (_database, mut conn) = with_audited_tables();
    let unpinned: BTreeSet<_> = names(
        &mut conn,
        "SELECT proname::text AS name FROM pg_proc
          WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
            AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)",
    )
    .into_iter()
    .collect();
    assert_eq!(
        unpinned,
        INLINED_FUNCTIONS.map(ToOwned::to_owned).into(),
        "functions without `SET search_path = pg_catalog, pg_temp`"
    );
    let not_inlined = names(
        &mut conn,
        "SELECT p.oid::regprocedure::text AS name FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
          WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND proconfig IS NULL
            AND (l.lanname <> 'sql' OR p.prosecdef OR p.provolatile = 'v' OR p.proisstrict)",
    );
    assert!(
        not_inlined.is_empty(),
        "the planner inlines none of {not_inlined:#?}, so nothing excuses them"
    );
}

/// Nothing in the schema is granted to PUBLIC: neither by us nor by what PostgreSQL grants unless told otherwise.
#[test]
fn nothing_is_granted_to_public() {
    let (_database, mut conn) = with_audited_tables();
    let granted = names(
        &mut conn,
        "SELECT format('%s on %s', acl.privilege_type, o.name) AS name
           FROM (SELECT nspname::text AS name, coalesce(nspacl, acldefault('n', nspowner)) AS acl
                   FROM pg_namespace WHERE nspname IN ('threadline', 'threadline_internal')
                 UNION ALL
                 SELECT oid::regclass::text,
                        coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))
                   FROM pg_class WHERE relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND relkind NOT IN ('i', 'I')
                 UNION ALL
                 SELECT attrelid::regclass || '.' || attname, attacl
                   FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
                  WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
                 UNION ALL
                 SELECT oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner))
                   FROM pg_proc WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)) AS o (name, acl)
          CROSS JOIN LATERAL aclexplode(o.acl) AS acl
          WHERE acl.grantee = 0 ORDER BY 1",
    );
    assert!(granted.is_empty(), "granted to PUBLIC: {granted:#?}");
}

/// `src/schema.rs` has the columns of the database, their types and whether they can be NULL; and Diesel can ask for
/// them all. (`.ci/check-schema` compares it with what Diesel's own tool writes.)
#[test]
fn schema_is_that_of_the_database() {
    let database = Database::new();
    let mut conn = database.connect();
    let in_database: BTreeSet<_> = names(
        &mut conn,
        "SELECT format('%s.%s: %s%s', table_name, column_name, udt_name,
                       CASE is_nullable WHEN 'YES' THEN ' NULL' END) AS name
           FROM information_schema.columns
          WHERE table_schema = 'threadline'
            AND table_name IN ('audit_actions', 'audit_changes', 'audit_transactions', 'audited_tables', 'baselines', 'exempt_tables',
                               'legal_holds', 'retention_policies')",
    )
    .into_iter()
    .collect();
    assert_eq!(columns_in_schema_rs(), in_database);

    macro_rules! assert_readable {
        ($($table:ident)+) => {$(
            let rows = schema::$table::table.limit(0).execute(&mut conn);
            assert_eq!(rows, Ok(0), "reading {}", stringify!($table));
        )+};
    }
    assert_readable!(audit_actions audit_changes audit_transactions audited_tables baselines exempt_tables legal_holds retention_policies);
}

/// `table.column: type NULL` for each line `column -> Nullable<Type>,` of a `table!`.
fn columns_in_schema_rs() -> BTreeSet<String> {
    let mut columns = BTreeSet::new();
    let mut table = String::new();
    for line in read(&source_directory().join("schema.rs")).lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("threadline.") {
            name.split(' ')
                .next()
                .unwrap_or_default()
                .clone_into(&mut table);
        } else if let Some((column, sql_type)) = line.trim_end_matches(',').split_once(" -> ") {
            let unwrap = |text: &str, wrapper: &str| {
                Some(text.strip_prefix(wrapper)?.strip_suffix('>')?.to_owned())
            };
            let (sql_type, null) = match unwrap(sql_type, "Nullable<") {
                Some(inner) => (inner, " NULL"),
                None => (sql_type.to_owned(), ""),
            };
            // Diesel takes every element for nullable.
            let element = unwrap(&sql_type, "Array<Nullable<").map(|inner| inner.replace('>', ""));
            let udt_name = match element {
                Some(element) => format!("_{}", element.to_lowercase()),
                None => sql_type.to_lowercase(),
            };
            columns.insert(format!("{table}.{column}: {udt_name}{null}"));
        }
    }
    columns
}

/// Imports point one way, `base ← capture ← context ← query ← ops ← web`: no layer names one to its right, neither by its
/// own path nor by that of the crate's front page.
#[test]
fn imports_point_one_way() {
    let exports = exports();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(layer) = layer_of(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            // Documentation may point anywhere.
            let code = line.split("//").next().unwrap_or_default();
            for name in names_from_the_root(&path, code) {
                let used = exports.get(name).map_or(name, String::as_str);
                let allowed =
                    used == "schema" || rank(used).is_some_and(|used| Some(used) <= rank(&layer));
                if !allowed {
                    wrong.push(format!(
                        "src/{}:{} uses {used}: {}",
                        path.display(),
                        number + 1,
                        line.trim()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports against {LAYERS:?}: {wrong:#?}");
}

/// Every source file stands in a layer, at most one directory deep, and is short enough to be read.
#[test]
fn sources_are_short_and_in_their_place() {
    for (path, text) in sources() {
        let shown = path.display();
        let lines = text.lines().count();
        assert!(
            lines <= MAX_LINES,
            "src/{shown} has {lines} lines, and {MAX_LINES} are the limit"
        );
        let layer = layer_of(&path);
        assert!(
            layer.as_deref().is_none_or(|layer| rank(layer).is_some()),
            "src/{shown} stands in none of the layers {LAYERS:?}"
        );
        assert!(
            path.iter().count() <= 2,
            "src/{shown} is too deep below src"
        );
    }
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|known| *known == layer)
}

/// The directory below `src`, or the name of the file itself; none for the front pages.
fn layer_of(path: &Path) -> Option<String> {
    let first = path.iter().next()?.to_str()?;
    (!FRONT_PAGES.contains(&first)).then(|| first.trim_end_matches(".rs").to_owned())
}

/// The first names after `crate::`, and in a `mod.rs` after `super::`, which is the same there.
fn names_from_the_root<'a>(path: &Path, code: &'a str) -> Vec<&'a str> {
    assert!(
        !code.contains("super::super::") && !code.contains("crate::{"),
        "src/{}: `{}` hides from this test what it uses: write one `use crate::layer::…` for each layer",
        path.display(),
        code.trim()
    );
    let root = if path.ends_with("mod.rs") {
        ["crate::", "super::"]
    } else {
        ["crate::"; 2]
    };
    let starts: BTreeSet<_> = root
        .iter()
        .flat_map(|root| {
            code.match_indices(root)
                .map(|(start, _)| start + root.len())
        })
        .collect();
    starts
        .into_iter()
        .map(|start| identifier(&code[start..]))
        .collect()
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// Which layer the names come from that `lib.rs` exports: `pub use layer::{Name, …};`.
fn exports() -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for statement in read(&source_directory().join("lib.rs")).split(';') {
        let Some((_, path)) = statement.split_once("pub use ") else {
            continue;
        };
        let Some((layer, names)) = path.split_once("::") else {
            continue;
        };
        for name in names.trim_matches(['{', '}']).split(',') {
            exports.insert(name.trim().to_owned(), layer.to_owned());
        }
    }
    exports
}

fn source_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Path below `src` and text of every source file that is written by hand.
fn sources() -> Vec<(PathBuf, String)> {
    let root = source_directory();
    let mut sources = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).expect("a source directory can be read");
        for path in entries.map(|entry| entry.expect("its entries can be read").path()) {
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = read(&path);
                let below = path.strip_prefix(&root).expect("it was found there");
                if !text.starts_with("// @generated") {
                    sources.push((below.to_owned(), text));
                }
            }
        }
    }
    assert!(
        sources.len() > 20,
        "only {} sources below {}",
        sources.len(),
        root.display()
    );
    sources
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
