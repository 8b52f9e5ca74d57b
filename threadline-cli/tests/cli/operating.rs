//! Whether all is captured, and as it should be.

use serde_json::{Value, json};
use threadline_test_support::Content;

use crate::project::Project;

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
    let piece = ["--batch-size", "2", "--max-batches", "2", "--pause", "1ms"];
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

/// One page for people, one line for each figure, and all of it for programs.
#[test]
fn status() {
    let project = Project::with_changes();
    project.run("CREATE TABLE sessions (id int); SELECT threadline.set_retention('1 year')");
    // As the month at hand is left by `threadline.maintain` where it has many changes.
    project.run(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'threadline.audit_changes_default_key_integer_idx'::regclass",
    );
    let maintained = project.said(&["maintain"]);
    assert!(maintained.contains("Indexes made: 1"), "{maintained}");
    let maintained = project.said(&["maintain"]);
    assert!(!maintained.contains("Indexes"), "{maintained}");
    let status = project.json(&["status"]);
    for (name, value) in [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("audited_tables", json!(2)),
        ("uncovered_tables", json!(1)),
        ("changes_estimate", json!(5)),
        ("retention_policies", json!(1)),
        ("legal_holds", json!(0)),
        ("purged_before", Value::Null),
        ("pending_migrations", json!(0)),
        ("errors", json!(0)),
    ] {
        assert_eq!(status[name], value, "{name}");
    }
    assert_eq!(status["partitions"][0]["changes_estimate"], 5);
    let pending = |page: String| {
        let line = page
            .lines()
            .find(|line| line.starts_with("pending migrations"));
        line.unwrap().to_owned()
    };
    assert_eq!(pending(project.said(&["status"])), "pending migrations   0");
    let csv = project.said(&["status", "--format", "csv"]);
    assert!(
        csv.starts_with("status,value\nversion,") && csv.contains("\naudited_tables,2\n"),
        "{csv}"
    );
    project.run("ALTER TABLE users DISABLE TRIGGER USER");
    let page = project.said(&["status"]);
    assert!(
        page.contains("audited tables       2\n")
            && page.contains("| audit_changes_")
            && page.contains("\nerror: users: "),
        "{page}"
    );
}

/// Before the migrations have run, what to do is told.
#[test]
fn not_installed() {
    let project = Project::new(Content::Empty);
    let hint =
        "\nhint: threadline install --apply, or threadline install and diesel migration run\n";
    for command in ["continuity", "coverage", "health", "status", "timeline"] {
        let refused = project.refused(&[command]);
        assert!(refused.ends_with(hint), "{refused}");
    }
}

/// One command after a new version: migrations that are pending, each table, and the work on the log. A table that could not be
/// refreshed makes it end with code 2.
#[test]
fn upgrade() {
    let project = Project::new(Content::Empty);
    project.said(&["install", "--apply"]);
    project.run(
        "CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE posts (id int PRIMARY KEY); SELECT threadline.audit_table('users'), threadline.audit_table('posts');
         ALTER TABLE users ADD name text",
    );
    assert_eq!(
        project.said(&["upgrade"]),
        "Up to date: public.users\nUp to date: public.posts\nNothing is left of the work on the audit log\n"
    );
    assert_eq!(project.said(&["health"]), "Nothing is wrong\n");
    assert_eq!(
        project.said(&["refresh", "--table", "posts"]),
        "Up to date: public.posts\n"
    );
    let refused = project.refused(&["refresh", "--table", "pg_class"]);
    assert!(refused.contains("pg_class is not audited"), "{refused}");

    project.run("SELECT threadline.audit_table('users', mask => '{name}'); ALTER TABLE users DROP CONSTRAINT users_pkey, ADD PRIMARY KEY (id, name)");
    let output = project.threadline(&["upgrade"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "Up to date: public.posts\nNothing is left of the work on the audit log\n"
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("not refreshed: public.users: cannot audit public.users: "),
        "{said}"
    );
    assert!(
        said.contains("error: tables that could not be refreshed: 1"),
        "{said}"
    );
}
