//! The command line, as people and scripts use it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use serde_json::{Value, json};
use threadline_test_support::{Content, Database};

/// A database, and a directory to work in, which goes when the test ends.
struct Project {
    database: Database,
    directory: PathBuf,
}

impl Project {
    fn new(content: Content) -> Self {
        let database = Database::create(content).unwrap();
        let directory = std::env::temp_dir().join(format!("{}_cli", database.name()));
        fs::create_dir_all(&directory).unwrap();
        Self {
            database,
            directory,
        }
    }

    /// With two audited tables, and changes of two actors.
    fn with_changes() -> Self {
        let project = Self::new(Content::Migrated);
        project.run(
            r#"CREATE TABLE users (id int PRIMARY KEY, name text, email text, balance numeric); CREATE TABLE pairs (a int, b text, PRIMARY KEY (a, b));
               SELECT threadline.audit_table('users', mask => '{email}'), threadline.audit_table('pairs');
               BEGIN; SELECT set_config('threadline.actor_ref', '{"type": "user", "id": "ada"}', true);
               INSERT INTO users VALUES (1, 'Grace', 'g@example.com', 12345678901234567890.10), (2, 'Linus', NULL, 0); COMMIT;
               UPDATE users SET name = 'Grace Hopper' WHERE id = 1; INSERT INTO pairs VALUES (-1, 'x, y'); DELETE FROM users WHERE id = 2"#,
        );
        project
    }

    fn run(&self, sql: &str) {
        let mut conn = PgConnection::establish(self.database.url()).unwrap();
        conn.batch_execute(sql).unwrap();
    }

    fn threadline(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_threadline"))
            .args(arguments)
            .env("DATABASE_URL", self.database.url())
            .env_remove("MIGRATION_DIRECTORY")
            .current_dir(&self.directory)
            .output()
            .unwrap()
    }

    /// What it prints when all is well.
    #[track_caller]
    fn said(&self, arguments: &[&str]) -> String {
        let output = self.threadline(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.said(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// What it says when it cannot: nothing on standard output, and code 2.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.threadline(arguments);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            (output.status.code(), &*stdout),
            (Some(2), ""),
            "{arguments:?}"
        );
        String::from_utf8(output.stderr).unwrap()
    }

    fn migrations(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<_> = fs::read_dir(self.directory.join("migrations"))
            .unwrap()
            .map(name)
            .collect();
        names.sort();
        names
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The timeline of a script is an export; that of a person is a table, with a line that says how to go on.
#[test]
fn timeline() {
    let project = Project::with_changes();
    let changes = project.json(&["timeline", "--actor", "user:ada", "--table", "users"]);
    assert_eq!(changes["returned_count"], 2);
    assert_eq!(
        changes["changes"][0]["transaction"]["actor_ref"]["id"],
        "ada"
    );
    let csv = project.said(&[
        "timeline", "--op", "delete", "--op", "update", "--format", "csv",
    ]);
    assert_eq!(csv.lines().count(), 3);

    let table = project.said(&["timeline", "--limit", "3"]);
    let rows: Vec<_> = table.lines().collect();
    assert!(
        rows[0].contains("| table")
            && rows[2].contains("public.users")
            && rows[2].contains("(role postgres)"),
        "{table}"
    );
    assert!(
        rows[4].contains(r#"name: "Grace" → "Grace Hopper""#),
        "{table}"
    );
    let before = table.trim().rsplit_once("--before ").unwrap().1;
    let rest = project.said(&["timeline", "--limit", "3", "--before", before]);
    assert!(
        rest.contains("user ada")
            && rest.contains("email: (masked)")
            && !rest.contains("There are more"),
        "{rest}"
    );
}

/// The history of a row, of a key of several columns too, and of one that begins like an option.
#[test]
fn history() {
    let project = Project::with_changes();
    let of =
        |table: &str, key: &str| project.json(&["history", table, key])["returned_count"].clone();
    assert_eq!(
        (
            of("users", "1"),
            of("pairs", r#"[-1, "x, y"]"#),
            of("public.users", "-1")
        ),
        (json!(2), json!(1), json!(0))
    );
}

/// A row as it was: found with all digits, gone, not there yet, before history.
#[test]
fn as_of() {
    let project = Project::with_changes();
    let now = "2100-01-01";
    let found = project.said(&["as-of", "users", "1", now, "--format", "json"]);
    assert!(
        found.contains("12345678901234567890.10") && found.contains(r#""name":"Grace Hopper""#),
        "{found}"
    );
    assert!(
        project
            .said(&["as-of", "users", "1", now])
            .contains("12345678901234567890.10")
    );
    assert_eq!(
        project.json(&["as-of", "pairs", r#"[-1, "x, y"]"#, now])["record"],
        json!({"a": -1, "b": "x, y"})
    );
    assert_eq!(
        project.json(&["as-of", "users", "2", now])["state"],
        "deleted"
    );
    assert_eq!(
        project.said(&["as-of", "users", "3", now]),
        "It was not there yet.\n"
    );
    assert_eq!(
        project.json(&["as-of", "users", "1", "2000-01-01T00:00:00Z"])["state"],
        "before_history"
    );
    assert!(
        project
            .refused(&["as-of", "users", "1", "yesterday"])
            .contains("is no time")
    );
    assert!(
        project
            .refused(&["as-of", "pairs", "[1]", now])
            .contains("the key has 2 columns, and not 1")
    );
    assert!(
        project
            .refused(&["as-of", "pg_class", "1", now])
            .contains("pg_class is not audited")
    );
    let hostile =
        project.threadline(&["as-of", "users", "1', now()); DROP TABLE users; --\\", now]);
    assert_eq!(hostile.status.code(), Some(2));
    assert_eq!(project.json(&["timeline"])["returned_count"], 5);
}

/// A transaction with its actions and changes.
#[test]
fn show() {
    let project = Project::with_changes();
    project.run(
        "BEGIN; SELECT threadline.record_action('user.removed', actor_ref => '{\"type\": \"admin\", \"id\": \"7\"}', reason => 'asked for'); DELETE FROM users; COMMIT",
    );
    let id =
        project.json(&["timeline", "--action", "user.removed"])["changes"][0]["transaction_id"]
            .clone();
    let id = id.as_str().unwrap();
    let shown = project.json(&["show", id]);
    assert_eq!(shown["transaction"]["actions"][0]["reason"], "asked for");
    assert_eq!(shown["export"]["changes"][0]["op"], "delete");
    let shown = project.said(&["show", id]);
    assert!(
        shown.contains("user.removed")
            && shown.contains("admin 7")
            && shown.contains("public.users"),
        "{shown}"
    );
    let nobody = "00000000-0000-7000-8000-000000000000";
    assert_eq!(
        project.refused(&["show", nobody]),
        format!("error: there is no transaction {nobody}\n")
    );
}

/// Exports to standard output, a file and a directory have the same bytes; the summary goes to standard error.
#[test]
fn export() {
    let project = Project::with_changes();
    let output = project.threadline(&["export", "--format", "ndjson"]);
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(summary.starts_with("5 changes, SHA-256 "), "{summary}");
    let written = String::from_utf8(output.stdout).unwrap();
    assert_eq!(written.lines().count(), 5);
    project.said(&["export", "--format", "ndjson", "--output", "all.ndjson"]);
    assert_eq!(
        fs::read_to_string(project.directory.join("all.ndjson")).unwrap(),
        written
    );
    project.said(&[
        "export",
        "--format",
        "ndjson",
        "--directory",
        "all",
        "--rows-per-file",
        "2",
    ]);
    let files = (1..=3).map(|n| {
        fs::read_to_string(
            project
                .directory
                .join(format!("all/changes-00000{n}.ndjson")),
        )
        .unwrap()
    });
    assert_eq!(files.collect::<String>(), written);
    assert!(
        project
            .refused(&["export", "--format", "ndjson", "--directory", "all"])
            .contains("all has a finished export in it")
    );

    let truncated = project.threadline(&["export", "--max-rows", "2"]);
    let summary = String::from_utf8(truncated.stderr).unwrap();
    let before = summary
        .trim()
        .rsplit_once("There are more: --before ")
        .unwrap()
        .1;
    let rest = project.said(&["export", "--before", before]);
    assert_eq!(rest.lines().count(), 1 + 3);
}

/// What is wrong is said, all of it and by name, on standard error, with code 2.
#[test]
fn refused() {
    let project = Project::with_changes();
    let wrong = project.refused(&[
        "timeline",
        "--actor",
        "ada",
        "--from",
        "yesterday",
        "--op",
        "drop",
    ]);
    for name in ["actor", "from", "op"] {
        assert!(wrong.contains(name), "{wrong}");
    }
    assert!(
        project
            .refused(&["timeline", "--table", "nothing"])
            .contains("relation \"nothing\" does not exist")
    );
    assert!(
        project
            .refused(&["timeline", "--nonsense"])
            .contains("unexpected argument")
    );
    assert!(
        project
            .refused(&[
                "timeline",
                "--database-url",
                "postgres:///nowhere?host=/nowhere"
            ])
            .contains("error: ")
    );
    let nameless = Command::new(env!("CARGO_BIN_EXE_threadline"))
        .arg("timeline")
        .env_remove("DATABASE_URL")
        .current_dir(&project.directory)
        .output();
    let nameless = String::from_utf8(nameless.unwrap().stderr).unwrap();
    assert_eq!(
        nameless,
        "error: no database is named: give --database-url, or set DATABASE_URL\n"
    );
}

/// Diesel's own migrations of a project: Threadline's, then those of its tables; once there, nothing is written over.
#[test]
fn migrations() {
    let project = Project::new(Content::Empty);
    project.run("CREATE TABLE users (id int PRIMARY KEY, email text); CREATE TABLE posts (id int PRIMARY KEY)");
    let said = project.said(&["install"]);
    assert_eq!(said.lines().count(), threadline::base::PATCHES.len());
    assert_eq!(project.said(&["install"]), "");
    let first = project
        .directory
        .join("migrations")
        .join(threadline::base::PATCHES[0].name)
        .join("up.sql");
    let sql = fs::read_to_string(&first).unwrap();
    fs::write(&first, "SELECT 1").unwrap();
    assert!(
        project
            .refused(&["install"])
            .contains("is not what this version of threadline has")
    );
    fs::write(&first, sql).unwrap();

    project.said(&["audit", "users", "posts", "--mask", "users.email"]);
    let audit = project.migrations().pop().unwrap();
    assert!(audit.ends_with("_audit_users_posts"), "{audit}");
    let up_sql = |name: &str| {
        fs::read_to_string(
            project
                .directory
                .join("migrations")
                .join(name)
                .join("up.sql"),
        )
        .unwrap()
    };
    let down_sql = |name: &str| {
        fs::read_to_string(
            project
                .directory
                .join("migrations")
                .join(name)
                .join("down.sql"),
        )
        .unwrap()
    };
    assert_eq!(
        up_sql(&audit),
        "SELECT threadline.audit_table('users', mask => ARRAY['email']);\nSELECT threadline.audit_table('posts');\n"
    );
    for name in project.migrations() {
        project.run(&up_sql(&name));
    }
    project.run("INSERT INTO users VALUES (1, 'x')");
    assert_eq!(project.json(&["timeline"])["returned_count"], 1);

    // What is undone has its masks again.
    let dry = project.said(&["unaudit", "users", "--dry-run"]);
    assert!(
        dry.contains("SELECT threadline.unaudit_table('users');")
            && dry.contains("SELECT threadline.audit_table('users', mask => ARRAY['email']);"),
        "{dry}"
    );
    assert!(
        project
            .refused(&["unaudit", "pg_class"])
            .contains("pg_class is not audited")
    );
    assert!(
        project
            .refused(&["audit", "users", "--mask", "posts.x"])
            .contains("write it as TABLE.COLUMN")
    );
    for name in project.migrations().iter().rev() {
        project.run(&down_sql(name));
    }
}

/// Without files: the migrations are run, and partitions made.
#[test]
fn applied() {
    let project = Project::new(Content::Empty);
    let said = project.said(&["install", "--apply"]);
    assert_eq!(said.lines().count(), threadline::base::PATCHES.len());
    assert_eq!(
        project.said(&["install", "--apply"]),
        "All migrations have run\n"
    );
    assert_eq!(
        project.said(&["maintain", "--months", "5"]),
        "Partitions made: 2\n"
    );
    assert_eq!(
        project.said(&["maintain", "--months", "5"]),
        "Partitions made: 0\n"
    );
    assert!(!project.directory.join("migrations").exists());
}

/// Help, completions and the manual page are there without a database.
#[test]
fn help() {
    let project = Project::new(Content::Empty);
    let help = project.said(&["--help"]);
    for command in [
        "timeline",
        "history",
        "as-of",
        "show",
        "export",
        "install",
        "audit",
        "unaudit",
        "maintain",
        "coverage",
        "health",
        "Exit codes",
    ] {
        assert!(help.contains(command), "{help}");
    }
    assert!(
        !project
            .said(&["timeline", "--help"])
            .contains(project.database.url()),
        "a password would be shown"
    );
    assert!(
        project
            .said(&["completions", "bash"])
            .contains("threadline")
    );
    assert!(project.said(&["man"]).contains(".TH threadline"));
}

/// What must not be makes a script stop, with code 1; the rest is told.
#[test]
fn coverage_and_health() {
    let project = Project::with_changes();
    assert_eq!(
        project
            .json(&["coverage", "--strict"])
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(project.said(&["health"]), "Nothing is wrong\n");
    assert_eq!(project.json(&["health"]), json!([]));
    project.run("CREATE TABLE sessions (id int PRIMARY KEY); CREATE TABLE cache (id int); SELECT threadline.exempt_table('cache', 'it is made anew')");
    let csv = project.said(&["coverage", "--format", "csv"]);
    assert!(
        csv.contains("public,cache,exempt,,,it is made anew\n")
            && csv.contains("public,sessions,uncovered,,,\n"),
        "{csv}"
    );
    assert_eq!(
        project.threadline(&["coverage", "--strict"]).status.code(),
        Some(1)
    );

    project.run("ALTER TABLE users DISABLE TRIGGER USER");
    let unhealthy = project.threadline(&["health", "--format", "json"]);
    assert_eq!(unhealthy.status.code(), Some(1));
    let problems: Value = serde_json::from_slice(&unhealthy.stdout).unwrap();
    let disabled = problems
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["check"] == "trigger_disabled")
        .unwrap();
    assert_eq!(
        (&disabled["table"], &disabled["severity"]),
        (&json!("users"), &json!("error"))
    );
}

/// What is known of each table, and the rows from before, a batch at a time.
#[test]
fn continuity() {
    let project = Project::new(Content::Migrated);
    project.run(
        "CREATE TABLE users (id int PRIMARY KEY, name text); CREATE TABLE logs (line text); INSERT INTO users SELECT g, 'n' FROM generate_series(1, 5) AS g;
         SELECT threadline.audit_table('users')",
    );
    let named = [
        "baseline", "users", "--actor", "user:ops", "--reason", "audit",
    ];
    let piece = ["--batch-size", "2", "--max-batches", "2", "--pause", "1"];
    let first = project.said(&[&named[..], &piece].concat());
    assert!(
        first.starts_with("Snapshots: 4 of 4 rows, as of ")
            && first.ends_with("There are more rows: run it again\n"),
        "{first}"
    );
    let tables = project.json(&["continuity"]);
    assert_eq!(tables[1]["table"], "users");
    assert_eq!(
        (&tables[1]["baseline"], &tables[1]["snapshots"]),
        (&json!("partial"), &json!(4))
    );
    assert_eq!(
        (&tables[0]["ready"], &tables[0]["baseline"]),
        (&json!(false), &Value::Null)
    );
    let second = project.said(&named);
    assert!(
        second.starts_with("Snapshots: 1 of 1 rows, as of "),
        "{second}"
    );
    assert_eq!(second.lines().count(), 1);
    let csv = project.said(&["continuity", "--format", "csv"]);
    assert!(
        csv.contains(",audited,true,") && csv.contains(",complete,5,"),
        "{csv}"
    );

    let refused = project.refused(&[
        "baseline", "logs", "--actor", "user:ops", "--reason", "audit",
    ]);
    assert!(
        refused.contains("cannot record a baseline of public.logs: it is not audited ("),
        "{refused}"
    );
    let refused = project.refused(&["baseline", "users", "--actor", "ops", "--reason", "audit"]);
    assert!(refused.contains("--actor"), "{refused}");
}

/// Without --execute it is a dry run; with it, it needs somebody and a reason.
#[test]
fn redact() {
    let project = Project::with_changes();
    let of_grace = [
        "redact",
        "users",
        "1",
        "77",
        "--mask",
        "name",
        "--substitute",
        "balance=0",
    ];
    let output = project.threadline(&of_grace);
    let (stdout, stderr) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stdout.contains("| name    | 3      |"), "{stdout}");
    assert!(
        stderr.contains("1 records and 2 changes would be redacted")
            && stderr.contains("Nothing is recorded of: 77")
            && stderr.contains("--execute"),
        "{stderr}"
    );
    let grace = || project.said(&["history", "users", "1", "--format", "csv"]);
    assert!(grace().contains("Grace Hopper"));

    let execute = [&of_grace[..], &["--execute"]].concat();
    assert!(project.refused(&execute).contains("--actor <ACTOR>"));
    let execute = [
        &execute[..],
        &["--actor", "admin:dpo", "--reason", "erasure request 12"],
    ]
    .concat();
    assert_eq!(project.json(&execute)[0]["values"], "5");
    assert!(!grace().contains("Grace"));
    assert!(
        project
            .said(&execute)
            .starts_with("0 values in 0 changes of 1 records, action ")
    );
    let refused = project.refused(&["redact", "users", "1", "--mask", "balance"]);
    assert!(refused.contains("cannot hold the placeholder"), "{refused}");
}
