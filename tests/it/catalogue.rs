//! The conventions, held by the catalog of a migrated database and by the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use threadline::schema::threadline as schema;
use threadline_test_support::Database;

use crate::common::{database, run};
use crate::module_graph::{Graph, Use};

/// Functions without a pinned `search_path`, which would keep the planner from inlining them: some are called for
/// every statement or row, and conditions on those that give rows reach the indexes. They name everything with its schema instead.
const INLINED_FUNCTIONS: [&str; 19] = [
    "action_json",
    "as_of",
    "change_context",
    "columns_of",
    "context_of",
    "is_audited_name",
    "key_of",
    "long_after",
    "row_as_of",
    "row_of",
    "timeline",
    "timeline_export",
    "timeline_rows",
    "timeline_tables",
    "transaction_actions",
    "transaction_id",
    "unaudit_table",
    "uuid_v7",
    "versions",
];

/// Functions that the planner cannot inline and that have no pinned `search_path` all the same: nearly every transaction calls
/// them, and pinning costs it two percent more. They name everything with its schema.
const UNPINNED_FUNCTIONS: [&str; 2] = ["enter_first", "tell_table"];

/// What each layer may use: those to its left, in the one direction of the design. The front pages use all.
const LAYERS: [&str; 13] = [
    "sql",
    "schema",
    "finding",
    "error",
    "text_enum",
    "setters",
    "telemetry",
    "migrations",
    "model",
    "context",
    "query",
    "ops",
    "web",
];
const FRONT_PAGES: [&str; 5] = ["base.rs", "capture.rs", "guide.rs", "lib.rs", "prelude.rs"];

/// The views that Diesel reads like tables, by the beginning of their columns' names.
const VIEWS: [&str; 6] = [
    "capture_activity.",
    "continuity.",
    "coverage.",
    "health.",
    "retention_plan.",
    "storage_usage.",
];

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
            -- the index it is a part of, or to the column of audit_changes.
            AND c.relkind NOT IN ('c', 'S')
            AND NOT EXISTS (SELECT FROM pg_index AS i JOIN pg_class AS p ON p.oid = i.indrelid AND p.relispartition WHERE i.indexrelid = c.oid)
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
        // Generated ones are called by the number of their table, or like it.
        "SELECT DISTINCT regexp_replace(proname, '(_[0-9]+| .*)$', '') AS name FROM pg_proc
          WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
            AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)",
    )
    .into_iter()
    .collect();
    let excused = INLINED_FUNCTIONS.iter().chain(&UNPINNED_FUNCTIONS);
    assert_eq!(
        unpinned,
        excused.map(|&name| name.to_owned()).collect(),
        "functions without `SET search_path = pg_catalog, pg_temp`"
    );
    let not_inlined = names(
        &mut conn,
        "SELECT p.oid::regprocedure::text AS name FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
          WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND proconfig IS NULL
            -- It resolves the name of a table as its caller would.
            AND p.oid <> 'threadline.unaudit_table(text)'::regprocedure
            -- It writes, and is inlined in the statements of capture.
            AND p.oid <> 'threadline_internal.change_context()'::regprocedure
            AND p.oid NOT IN ('threadline_internal.enter_first(timestamptz, integer)'::regprocedure,
                              'threadline_internal.tell_table(integer)'::regprocedure)
            AND (l.lanname <> 'sql' OR p.prosecdef OR p.provolatile = 'v' OR p.proisstrict)",
    );
    assert!(
        not_inlined.is_empty(),
        "the planner inlines none of {not_inlined:#?}, so nothing excuses them"
    );
}

/// No argument or column of a function has a name that is a keyword since PostgreSQL 13: an older server dumps it without quotes,
/// and a newer one does not restore it.
#[test]
fn arguments_are_no_new_keywords() {
    let (_database, mut conn) = with_audited_tables();
    let keywords = names(
        &mut conn,
        "SELECT DISTINCT concat(p.oid::regprocedure, ': ', a.name) AS name
           FROM pg_proc AS p, unnest(p.proargnames) AS a (name)
          WHERE p.pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
            AND a.name = ANY ('{json,json_array,json_arrayagg,json_exists,json_object,json_objectagg,json_query,json_scalar,json_serialize,json_table,json_value,merge_action,system_user}')",
    );
    assert_eq!(keywords, [""; 0]);
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

/// `schema` has the columns of the database, their types and whether they can be NULL; and Diesel can ask for
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
            AND table_name IN ('audit_actions', 'audit_changes', 'audit_transactions', 'audited_tables', 'baselines', 'exempt_columns', 'exempt_tables',
                               'legal_holds', 'retention_policies')
         UNION ALL
         -- A view says nothing about which of its columns can be NULL.
         SELECT format('%s.%s: %s', table_name, column_name, udt_name)
           FROM information_schema.columns
          WHERE table_schema = 'threadline'
            AND table_name IN ('capture_activity', 'continuity', 'coverage', 'health', 'retention_plan', 'storage_usage')",
    )
    .into_iter()
    .collect();
    let in_schema_rs: BTreeSet<_> = columns_in_schema_rs()
        .into_iter()
        .map(|column| {
            let of_view = VIEWS.iter().any(|view| column.starts_with(view));
            let not_null = column.strip_suffix(" NULL").filter(|_| of_view);
            not_null.map_or_else(|| column.clone(), ToOwned::to_owned)
        })
        .collect();
    assert_eq!(in_schema_rs, in_database);

    macro_rules! assert_readable {
        ($($table:ident)+) => {$(
            let rows = schema::$table::table.limit(0).execute(&mut conn);
            assert_eq!(rows, Ok(0), "reading {}", stringify!($table));
        )+};
    }
    assert_readable!(audit_actions audit_changes audit_transactions audited_tables baselines exempt_columns exempt_tables legal_holds retention_policies
        capture_activity continuity coverage health retention_plan storage_usage);
}

/// `table.column: type NULL` for each line `column -> Nullable<Type>,` of a `table!`.
fn columns_in_schema_rs() -> BTreeSet<String> {
    let mut columns = BTreeSet::new();
    let mut table = String::new();
    let schema =
        ["schema/tables.rs", "schema/views.rs"].map(|file| read(&source_directory().join(file)));
    for line in schema.iter().flat_map(|text| text.lines()) {
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

/// Imports point one way, `sql ← … ← model ← context ← query ← ops ← web`: no layer names one to its right, neither by its
/// own path nor by that of the crate's front page.
#[test]
fn imports_point_one_way() {
    let uses = Graph::new(&sources()).uses();
    let wrong: Vec<_> = uses
        .into_iter()
        .filter(|Use { user, used, .. }| {
            layer_of(user).is_some_and(|layer| {
                let rank_of_used = layer_of(used).and_then(|layer| rank(&layer));
                rank_of_used.is_none_or(|used| Some(used) > rank(&layer))
            })
        })
        .map(|Use { user, line, used }| {
            format!("src/{}:{line} uses src/{}", user.display(), used.display())
        })
        .collect();
    assert!(wrong.is_empty(), "imports against {LAYERS:?}: {wrong:#?}");
}

/// No file uses what uses it, neither directly nor through others.
#[test]
fn imports_make_no_circle() {
    let circle = Graph::new(&sources()).circle();
    assert!(circle.is_none(), "a circle of imports in src: {circle:#?}");
}

/// The graph of modules sees a circle through a `mod.rs` that hands a name on, through a path that is written out, and
/// through the items of the `mod.rs` itself; and none where a `mod.rs` only hands on.
#[test]
fn circles_are_found() {
    let circle = |sources: &[(&str, &str)]| {
        let sources = sources.iter();
        let sources: Vec<_> = sources
            .map(|(file, text)| (PathBuf::from(file), (*text).to_owned()))
            .collect();
        Graph::new(&sources).circle()
    };
    let both = "mod a;\nmod b;\npub use a::A;\npub use b::{B, C as D};\n";
    let b = ("b.rs", "pub struct B;\npub struct C;\n");
    let of_a = |text| circle(&[("lib.rs", both), b, ("a.rs", text)]);
    assert_eq!(of_a("use crate::B;\npub struct A(B);\n"), None);

    let b = ("b.rs", "pub struct B;\npub struct C(crate::A);\n");
    let of_a = |text| circle(&[("lib.rs", both), b, ("a.rs", text)]);
    let files = ["a.rs", "b.rs", "a.rs"].map(PathBuf::from);
    for text in [
        "use super::{B};\npub struct A(B);\n",
        "pub struct A(crate::D);\n",
        "pub struct A;\nmod tests {\n    use super::*;\n    use crate::b::{self};\n}\n",
    ] {
        assert_eq!(of_a(text).as_deref(), Some(&files[..]), "{text}");
    }
    assert_eq!(of_a("// crate::B\npub struct A;\n"), None);

    let own = "mod a;\npub use a::A;\npub struct M(A);\n";
    let a = ("m/a.rs", "use super::M;\npub struct A(M);\n");
    let found = circle(&[("lib.rs", "mod m;\n"), ("m/mod.rs", own), a]);
    assert_eq!(found.map(|circle| circle.len()), Some(3));
}

/// Every source file stands in a layer, at most two directories deep, and is short enough to be read.
#[test]
fn sources_are_short_and_in_their_place() {
    let by_hand = |(_, text): &(PathBuf, String)| !text.starts_with("// @generated");
    for (path, text) in sources().into_iter().filter(by_hand) {
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
            path.iter().count() <= 3,
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

fn source_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Path below `src` and text of every source file.
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
                sources.push((below.to_owned(), text));
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
