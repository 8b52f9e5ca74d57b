//! What guides show is run as it stands, and everything that is printed is compared.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, mem};

use chrono::DateTime;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{Jsonb, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl};
use serde_json::Value;
use threadline_test_support::{Content, needs, pg_bin};
use uuid::Uuid;

use crate::project::Project;

/// Stands between the outputs of two commands.
const NEXT: &str = "\u{1e}";

/// Whoever follows the guide sees what it shows: `[..]` stands for anything in a line, `...` for any lines, and of times,
/// ids and the width of columns only that they are there.
#[needs(jq)]
#[test]
fn getting_started() {
    let commands = commands(&guide("getting-started.md"));
    assert!(commands.len() > 20, "{commands:?}");
    assert_as_shown(&Project::new(Content::Empty), &commands);
}

/// Runs commands, and compares what they print with what the guide shows.
#[track_caller]
fn assert_as_shown(project: &Project, commands: &[(String, String)]) {
    let (mut shown, mut printed) = (String::new(), String::new());
    for ((command, output), actual) in commands.iter().zip(run(project, commands)) {
        shown.extend(["$ ", command, "\n", &alike(output)]);
        printed.extend(["$ ", command, "\n", &alike(&actual)]);
    }
    snapbox::Assert::new()
        .normalize_paths(false)
        .eq(printed, shown);
}

/// An upgrade prints what the guide shows.
#[test]
fn upgrading() {
    let commands = commands(&guide("upgrading.md").replace("\n   ", "\n"));
    assert_eq!(commands.len(), 2);
    assert_as_shown(&Project::with_changes(), &commands);
}

/// The functions, relations, settings and errors of the database that are to stay are all of them, and no others.
#[test]
fn stability_in_sql() {
    let project = Project::with_changes();
    let of_kind = |kinds: &str| {
        format!(
            "SELECT DISTINCT relname::text AS name FROM pg_class WHERE relnamespace = 'threadline'::regnamespace AND relkind IN ({kinds}) AND NOT relispartition"
        )
    };
    let in_bodies = |pattern: &str| {
        format!(
            "SELECT DISTINCT m[1] AS name FROM pg_proc CROSS JOIN regexp_matches(prosrc, $${pattern}$$, 'g') AS m WHERE pronamespace::regnamespace::text LIKE 'threadline%'"
        )
    };
    let guide = guide("stability.md");
    let (functions, rest) = section(&guide, "## SQL").split_once("| relations").unwrap();
    let relation = |kind: &str| rest.lines().find(|line| line.contains(kind)).unwrap();
    let errors: String = section(&guide, "## Errors")
        .split("| the error")
        .nth(1)
        .unwrap()
        .into();
    let in_first_cells: Vec<_> = errors
        .lines()
        .filter_map(|line| line.split(" | ").next())
        .collect();
    let mut known_errors = names(&project, &in_bodies("CONSTRAINT = '(threadline_[a-z_]+)'"));
    for file in threadline::migrations::FILES {
        let parts = [file.up, file.down].map(|sql| {
            sql.split("CONSTRAINT = '")
                .skip(1)
                .map(|rest| rest.split('\'').next().unwrap().to_owned())
        });
        known_errors.extend(parts.into_iter().flatten());
    }
    for (listed, known) in [
        (
            functions.to_owned(),
            names(
                &project,
                "SELECT DISTINCT proname::text AS name FROM pg_proc WHERE pronamespace = 'threadline'::regnamespace",
            ),
        ),
        (
            relation("| tables").to_owned(),
            names(&project, &of_kind("'r', 'p'")),
        ),
        (
            relation("| views").to_owned(),
            names(&project, &of_kind("'v'")),
        ),
        (in_first_cells.join("\n"), known_errors),
    ] {
        assert_eq!(
            sorted(quoted(&listed)),
            sorted(known.iter().map(String::as_str))
        );
    }
    let mut settings = names(
        &project,
        &in_bodies(r"current_setting\('(threadline\.[a-z_]+)'"),
    );
    settings.push("threadline.drop_audit_log".to_owned());
    let listed = section(&guide, "## Settings");
    let listed = quoted(listed).filter(|name| name.starts_with("threadline."));
    assert_eq!(sorted(listed), sorted(settings.iter().map(String::as_str)));

    project.run(
        r#"BEGIN; SET LOCAL threadline.actor_ref = '{"type": "user", "id": "7"}';
           SET LOCAL threadline.context = '{"on_behalf_of": {"type": "user", "id": "8"}, "source": "s", "correlation_id": "c", "request_id": "r",
             "job_id": "j", "remote_ip": "10.0.0.1", "meta": {"m": 1}}'; INSERT INTO users VALUES (9, 'Barbara'); COMMIT"#,
    );
    let recorded = names(
        &project,
        "SELECT key AS name FROM threadline.audit_transactions AS t CROSS JOIN jsonb_each(to_jsonb(t))
          WHERE t.correlation_id = 'c' AND value <> 'null'",
    );
    let context = section(&guide, "## Settings")
        .lines()
        .find(|line| line.starts_with("| `threadline.context`"));
    for key in quoted(context.unwrap()).skip(1) {
        assert!(
            recorded.iter().any(|name| name == key),
            "{key}: {recorded:?}"
        );
    }
}

/// The commands, exit codes and columns of exports are those that the guide promises.
#[test]
fn stability_of_commands() {
    let project = Project::with_changes();
    let guide = guide("stability.md");
    project.run("CREATE TABLE sessions (id int PRIMARY KEY)");
    assert!(project.said(&["health"]).contains("warning"));
    project.run("ALTER TABLE pairs DISABLE TRIGGER USER");
    let (codes, commands) = section(&guide, "## Exit codes")
        .split_once("The commands:")
        .unwrap();
    let mut tried = 0;
    for line in codes.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<_> = line.trim_matches(['|', ' ']).split(" | ").collect();
        let [code, _, examples] = cells[..] else {
            panic!("{line}");
        };
        for example in quoted(examples) {
            let arguments: Vec<_> = example.split(' ').skip(1).collect();
            let output = project.threadline(&arguments);
            assert_eq!(
                output.status.code(),
                Some(code.parse().unwrap()),
                "{example}"
            );
            tried += 1;
        }
    }
    assert!(tried >= 7, "{tried}");

    let help = project.said(&["--help"]);
    let help = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Options:")
        .next()
        .unwrap();
    let shown = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let shown = shown.filter(|name| !name.is_empty() && *name != "help");
    assert_eq!(sorted(quoted(commands)), sorted(shown));

    let columns = section(&guide, "## Exports")
        .split(". JSON and NDJSON")
        .next()
        .unwrap();
    let header = project.said(&["export"]);
    let header: Vec<_> = header.lines().next().unwrap().split(',').collect();
    assert_eq!(quoted(columns).collect::<Vec<_>>(), header);
    let change = project.said(&["export", "--format", "ndjson", "--limit", "1"]);
    let change: Value = serde_json::from_str(&change).unwrap();
    let members = change.as_object().unwrap().keys().map(String::as_str);
    let named = header.iter().map(|name| name.trim_end_matches("_json"));
    assert_eq!(sorted(members), sorted(named));
}

/// Every health check is explained, in the words of the database.
#[test]
fn health_checks() {
    let sql = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/health");
    let guide = guide("production.md");
    let mut checks = 0;
    for file in fs::read_dir(sql).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines().map(str::trim_start) {
            let named = ["SELECT '", "\"check\" := '"];
            let named = named.iter().find_map(|before| line.strip_prefix(before));
            let Some((check, _)) = named.and_then(|rest| rest.split_once('\'')) else {
                continue;
            };
            if check.contains(|c: char| !c.is_ascii_lowercase() && c != '_')
                || check.starts_with("audited_tables")
                || check.starts_with("table_definitions")
            {
                continue;
            }
            checks += 1;
            assert!(guide.contains(&format!("`{check}`")), "{check}");
        }
    }
    assert!(checks >= 25, "{checks}");
}

/// Every guide is a page of the documentation, the README leads to it, and each link of a guide leads to a guide and a heading that are
/// there.
#[test]
fn links() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = fs::read_to_string(root.join("src/guide.rs")).unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let mut found = 0;
    for file in fs::read_dir(root.join("docs")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if Path::new(&name).extension().is_none_or(|is| is != "md") {
            continue;
        }
        assert!(pages.contains(&format!("\"../docs/{name}\"")), "{name}");
        let page = name.trim_end_matches(".md").replace('-', "_");
        assert!(readme.contains(&format!("/guide/{page}/")), "{name}");
        for link in guide(&name).split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            // rustdoc checks the links to other items, but no headings.
            let (page, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = match page.strip_prefix("crate::guide::") {
                Some(page) => format!("{}.md", page.replace('_', "-")),
                None if page.is_empty() => name.clone(),
                None => continue,
            };
            let headings: Vec<_> = guide(&file).lines().filter_map(anchor).collect();
            assert!(
                heading.is_empty() || headings.iter().any(|known| known == heading),
                "{name}: {link} is none of {headings:?}"
            );
            found += 1;
        }
    }
    assert!(found > 50, "{found}");
}

/// What a link to a heading ends in.
fn anchor(line: &str) -> Option<String> {
    let heading = line.trim_start_matches('#').strip_prefix(' ')?;
    if heading.len() + 1 == line.len() {
        return None;
    }
    let kept = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
    };
    Some(heading.chars().filter_map(kept).collect())
}

/// What stands below a heading, up to the next one.
fn section<'a>(guide: &'a str, heading: &str) -> &'a str {
    let (_, section) = guide.split_once(&format!("\n{heading}\n")).expect(heading);
    section.split("\n## ").next().unwrap()
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Uninstalling drops what the guide says, and leaves the rest; and a dump without the audit log can be restored.
#[test]
fn uninstall() {
    let project = Project::new(Content::Migrated);
    project.run(
        "CREATE TABLE orders (id int PRIMARY KEY, item text); CREATE TABLE posts (id int PRIMARY KEY, title text);
         SELECT threadline.audit_table('orders'), threadline.audit_table('posts');
         INSERT INTO orders VALUES (1, 'tea'); UPDATE orders SET item = 'coffee'; INSERT INTO posts VALUES (1, 'First')",
    );
    let copy = Copy(
        project.database.connect(),
        format!("{}_copy", project.database.name()),
    );
    let text = guide("uninstall.md").replace("shop_copy", &copy.1);
    assert!(names(&project, OBJECTS).len() > 600);
    assert_as_shown(&project, &commands(&text));
    assert_eq!(names(&project, OBJECTS), [""; 0]);

    // For new databases of a project: the migration drops it, also with changes in it, and with it views over it.
    let project = Project::with_changes();
    project.run("CREATE VIEW mine AS SELECT * FROM threadline.changes");
    let blocks = text.split("```sql\n").skip(1);
    let blocks: Vec<_> = blocks
        .map(|block| block.split("```").next().unwrap())
        .collect();
    let [by_function, migration] = blocks[..] else {
        panic!("{blocks:?}");
    };
    project.run(migration);
    assert_eq!(names(&project, OBJECTS), [""; 0]);
    project.run("INSERT INTO users VALUES (3, 'Edsger')");

    // Function by function, as where there are too many tables for one transaction.
    let project = Project::with_changes();
    let drops = names(
        &project,
        &by_function
            .replace("\\gexec", "")
            .replace("oid::regprocedure) FROM", "oid::regprocedure) AS name FROM"),
    );
    assert!(drops.len() > 500, "{}", drops.len());
    let mut conn = project.database.connect();
    for drop in drops {
        // What another one took along is gone.
        let _ = conn.batch_execute(&format!("SET client_min_messages = error; {drop}"));
    }
    project.run(migration);
    assert_eq!(names(&project, OBJECTS), [""; 0]);
}

/// Whatever of Threadline is in a database.
const OBJECTS: &str = "SELECT proname::text AS name FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'threadline%'
    UNION ALL SELECT relname FROM pg_class WHERE relnamespace::regnamespace::text LIKE 'threadline%' OR relname = 'mine'
    UNION ALL SELECT tgname FROM pg_trigger WHERE tgname LIKE '!threadline%'
    UNION ALL SELECT nspname FROM pg_namespace WHERE nspname LIKE 'threadline%'";

/// A database that a guide makes, which goes at the end of the test.
struct Copy(PgConnection, String);

impl Drop for Copy {
    fn drop(&mut self) {
        let dropped = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.1);
        if let Err(error) = self.0.batch_execute(&dropped) {
            eprintln!("{error}");
        }
    }
}

/// Security: each statement does what is said behind it, with the roles that the guide makes.
#[test]
fn security() {
    let project = Project::new(Content::Empty);
    let (database, prefix) = (
        project.database.name(),
        format!("{}_", project.database.name()),
    );
    let guide = guide("security.md")
        .replace("DATABASE shop ", &format!("DATABASE \"{database}\" "))
        .replace("shop_", &prefix);
    let _roles = Roles(project.database.connect(), prefix.clone());
    let conn = &mut project.database.connect();
    for block in guide.split("```").skip(1).step_by(2) {
        if let Some(sql) = block.strip_prefix("sql\n") {
            statements(sql).for_each(|(statement, says)| check(conn, &statement, says, &prefix));
        } else {
            run(&project, &commands(&format!("```{block}```")));
        }
    }
    assert_eq!(
        project.json(&["timeline", "--table", "orders"])["returned_count"],
        2
    );
}

/// Roles belong to the whole server, so they go at the end of the test.
struct Roles(PgConnection, String);

impl Drop for Roles {
    fn drop(&mut self) {
        let roles = ["app", "worker", "auditor", "nobody", "owner", "audit"]
            .map(|role| format!("{}{role}", self.1));
        let roles = roles.join(", ");
        let dropped = format!("DROP OWNED BY {roles} CASCADE; DROP ROLE {roles}");
        if let Err(error) = self.0.batch_execute(&dropped) {
            eprintln!("{error}");
        }
    }
}

/// The statements of a block, each with the remark in its last line.
fn statements(sql: &str) -> impl Iterator<Item = (String, &str)> {
    let mut statement = String::new();
    sql.lines().filter_map(move |line| {
        let (code, remark) = line.split_once(" -- ").unwrap_or((line, ""));
        statement += code;
        let is_whole = code.trim_end().ends_with(';');
        is_whole.then(|| (mem::take(&mut statement), remark))
    })
}

/// `-- ERROR: …` behind a statement is how it fails; behind a query of `threadline` it is what comes back.
#[track_caller]
fn check(conn: &mut PgConnection, statement: &str, says: &str, prefix: &str) {
    if let Some(refusal) = says.strip_prefix("ERROR: ") {
        let error = conn.batch_execute(statement).expect_err(statement);
        assert_eq!(error.to_string(), refusal, "{statement}");
    } else if statement.starts_with("SELECT") && !says.is_empty() {
        let query = statement.trim_end().trim_end_matches(';');
        let query = format!("SELECT to_jsonb(r) AS row FROM ({query}) AS r");
        let rows: Vec<Row> = diesel::sql_query(query).load(conn).unwrap();
        let values = |Row { row }: &Row| {
            row.as_object()
                .unwrap()
                .values()
                .map(told)
                .collect::<Vec<_>>()
        };
        let rows = rows.iter().flat_map(values).collect::<Vec<_>>().join(", ");
        assert_eq!(
            rows.replace(prefix, "shop_"),
            says.replace(prefix, "shop_"),
            "{statement}"
        );
    } else {
        conn.batch_execute(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Jsonb)]
    row: Value,
}

/// An actor as the command line shows it, and all else as it is.
fn told(value: &Value) -> String {
    match value {
        Value::Object(_) => format!(
            "{} {}",
            value["type"].as_str().unwrap(),
            value["id"].as_str().unwrap()
        ),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a change costs is, give or take a fifth, what the guide says; so whoever makes the audit log larger has to say so.
#[test]
fn sizing() {
    let project = Project::new(Content::Migrated);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sizing.sql");
    let output = Command::new(pg_bin().join("psql"))
        .args(["--quiet", "--no-psqlrc", "--file"])
        .arg(script)
        .envs(project.database.pg_env())
        .output()
        .unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    let guide = guide("sizing.md");
    let shown = guide
        .split("```text\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let (printed, shown) = (figures(&printed), figures(shown));
    assert_eq!(printed.len(), 6);
    for ((what, printed), (shown_of, shown)) in printed.iter().zip(&shown) {
        assert_eq!(what, shown_of);
        let near = printed.abs_diff(*shown) * 5 <= *shown;
        assert!(near, "{what}: {printed} bytes, and the guide says {shown}");
    }
}

/// Every index of the audit log is explained, and the queries run.
#[test]
fn sizing_in_sql() {
    let project = Project::new(Content::Migrated);
    project.run("CREATE TABLE orders (id int PRIMARY KEY)");
    let guide = guide("sizing.md");
    for block in guide.split("```").skip(1).step_by(2) {
        if let Some(sql) = block.strip_prefix("sql\n") {
            project.run(sql);
        }
    }
    let indexes = "SELECT indexname AS name FROM pg_indexes WHERE schemaname = 'threadline' AND tablename IN ('audit_changes', 'audit_transactions')";
    for index in names(&project, indexes) {
        assert!(guide.contains(&format!("`{index}`")), "{index}");
    }
}

/// Every name in the reference is there: in the database, in the source of the crate, at the command line.
#[test]
fn reference() {
    let project = Project::new(Content::Migrated);
    project
        .run("CREATE TABLE orders (id int PRIMARY KEY); SELECT threadline.audit_table('orders')");
    let in_database = names(
        &project,
        "SELECT relname::text AS name FROM pg_class WHERE relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
         UNION SELECT proname FROM pg_proc WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
         UNION SELECT concat(c.relname, '.', a.attname) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)",
    );
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let front_page = fs::read_to_string(source.join("lib.rs")).unwrap();
    let schema = fs::read_to_string(source.join("schema/tables.rs")).unwrap();
    let install = fs::read_to_string(source.join("capture.rs")).unwrap();
    let guide = guide("reference.md");
    let mut words = 0;
    for line in guide
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| word"))
    {
        let cells: Vec<_> = line
            .split(" | ")
            .map(|cell| cell.trim_matches(['|', ' ']))
            .collect();
        let [_, _, sql, rust, command] = cells[..] else {
            panic!("{line}");
        };
        words += 1;
        for name in quoted(sql) {
            assert!(
                in_database.iter().any(|known| known == name),
                "{line}\n{name}"
            );
        }
        for name in quoted(rust) {
            let (text, name) = match name.split_once("::") {
                Some(("schema", name)) => (&schema, name),
                Some(("capture", name)) => (&install, name),
                _ => (&front_page, name),
            };
            let mut known = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            assert!(known.any(|known| known == name), "{line}\n{name}");
        }
        for name in quoted(command) {
            project.said(&[name, "--help"]);
        }
    }
    assert_eq!(words, 30);
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn names(project: &Project, query: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let names: Vec<Name> = diesel::sql_query(query)
        .load(&mut project.database.connect())
        .unwrap();
    names.into_iter().map(|Name { name }| name).collect()
}

/// The name and the last figure of each row of a table.
fn figures(table: &str) -> Vec<(&str, u64)> {
    let row = |line: &'_ str| -> Option<(usize, u64)> {
        Some((
            line.find('|')?,
            line.rsplit('|').next()?.trim().parse().ok()?,
        ))
    };
    let rows = table
        .lines()
        .filter_map(|line| row(line).map(|(end, bytes)| (line[..end].trim(), bytes)));
    rows.collect()
}

fn guide(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The commands of the guide's console blocks, each with what the guide shows below it.
fn commands(guide: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut is_console = false;
    for line in guide.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_console) {
            commands.push((command.to_owned(), String::new()));
        } else if is_console {
            let (_, output) = commands.last_mut().expect("a block begins with a command");
            output.extend([line, "\n"]);
        }
    }
    commands
}

/// All of them in one shell, since one sets what another uses.
fn run(project: &Project, commands: &[(String, String)]) -> Vec<String> {
    let path = Path::new(env!("CARGO_BIN_EXE_threadline")).parent();
    let path = [path, Some(pg_bin())].map(|path| path.unwrap().to_owned());
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = path.into_iter().chain(std::env::split_paths(&inherited));
    // What the command left in `$?` is there for the next one.
    let kept = format!("\nthen=$?; printf '{NEXT}'; (exit $then)\n");
    let script: String = commands
        .iter()
        .flat_map(|(command, _)| [&**command, &*kept])
        .collect();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{script}")])
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("DATABASE_URL", project.database.url())
        .envs(project.database.pg_env())
        .env_remove("MIGRATION_DIRECTORY")
        .current_dir(&project.directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<_> = printed
        .split_terminator(NEXT)
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(printed.len(), commands.len(), "{printed:?}");
    printed
}

/// With words for times and ids, and one blank or dash where there are as many as a column is wide.
fn alike(output: &str) -> String {
    let word = |word: &str| {
        if DateTime::parse_from_rfc3339(word).is_ok() {
            "[TIME]".to_owned()
        } else if word.parse::<Uuid>().is_ok() {
            "[ID]".to_owned()
        } else if word.len() > 2 && word.bytes().all(|byte| b"-|".contains(&byte)) {
            word.split('|')
                .map(|dashes| dashes.get(..1).unwrap_or_default())
                .collect::<Vec<_>>()
                .join("|")
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| {
        line.split_whitespace()
            .map(word)
            .collect::<Vec<_>>()
            .join(" ")
            + "\n"
    };
    output.lines().map(line).collect()
}
