//! Migrations: written into a project, or run at once.

use std::fs;

use serde_json::json;
use threadline_test_support::Content;

use crate::project::Project;

/// Diesel's own migrations of a project: Threadline's, then those of its tables; once there, nothing is written over.
#[test]
fn migrations() {
    let project = Project::new(Content::Empty);
    project.run("CREATE TABLE users (id int PRIMARY KEY, email text); CREATE TABLE posts (id int PRIMARY KEY)");
    let said = project.said(&["install"]);
    assert_eq!(said.lines().count(), threadline::migrations::FILES.len());
    assert_eq!(project.said(&["install"]), "");
    let first = project
        .directory
        .join("migrations")
        .join(threadline::migrations::FILES[0].name)
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
        "BEGIN; SELECT threadline.audit_table('users', mask => ARRAY['email']); COMMIT;\n\
         BEGIN; SELECT threadline.audit_table('posts'); COMMIT;\n"
    );
    let metadata = project.directory.join("migrations").join(&audit);
    let metadata = fs::read_to_string(metadata.join("metadata.toml")).unwrap();
    assert_eq!(metadata, "run_in_transaction = false\n");
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
    project.run(&down_sql(&audit));
    let install = &project.migrations()[0];
    project.run(&format!(
        "SET threadline.drop_audit_log = 'yes'; {}",
        down_sql(install)
    ));
}

/// Without files: the migrations are run, and partitions made.
#[test]
fn applied() {
    let project = Project::new(Content::Empty);
    let said = project.said(&["install", "--apply"]);
    assert_eq!(said.lines().count(), threadline::migrations::FILES.len());
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

/// A table of migrations that somebody else owns would run their code: it is refused, with what to do.
#[test]
fn migrations_of_somebody_else() {
    let project = Project::new(Content::Empty);
    let owner = format!("{}_owner", project.database.name());
    project.run(&format!(
        "CREATE ROLE {owner}; CREATE TABLE __diesel_schema_migrations (version varchar(50) PRIMARY KEY, run_on timestamp NOT NULL DEFAULT now());
         ALTER TABLE __diesel_schema_migrations OWNER TO {owner}"
    ));
    let refused = project.refused(&["install", "--apply"]);
    project.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
    assert!(
        refused.contains(&format!("belongs to {owner}, whose code would run as"))
            && refused.contains("\nhint: Run the migrations of Threadline as "),
        "{refused}"
    );
}

/// Run at once, it changes nothing where one table is refused, and no file is written; what ends has its record still.
#[test]
fn audited_at_once() {
    let project = Project::new(Content::Migrated);
    project.run(
        "CREATE TABLE users (id int PRIMARY KEY, email text, token text); CREATE TABLE posts (id int PRIMARY KEY)",
    );
    let refused = project.refused(&["audit", "users", "pg_class", "--apply"]);
    assert!(
        refused.contains("cannot audit pg_class: it is a system table\n")
            && refused.contains("hint: Triggers do not fire on system tables."),
        "{refused}"
    );
    let states = || {
        let tables = project.json(&["coverage"]);
        let state = |table: &serde_json::Value| table["state"].clone();
        let states: Vec<_> = tables.as_array().unwrap().iter().map(state).collect();
        json!(states)
    };
    assert_eq!(states(), json!(["uncovered", "uncovered"]));

    let redacted = ["--mask", "users.email", "--exclude", "users.token"];
    let done = project.said(&[&["audit", "users", "posts", "--apply"], &redacted[..]].concat());
    assert_eq!(done, "Done: audit users, posts\n");
    project.run(
        "INSERT INTO users VALUES (1, 'x@example.com', 'secret'); INSERT INTO posts VALUES (1)",
    );
    let change = &project.json(&["history", "users", "1"])["changes"][0];
    assert_eq!(
        change["data_after"],
        json!({"id": 1, "email": "[REDACTED]"})
    );

    assert_eq!(
        project.said(&["unaudit", "users", "posts", "--apply"]),
        "Done: unaudit users, posts\n"
    );
    project.run("DELETE FROM users; DELETE FROM posts");
    assert_eq!(states(), json!(["uncovered", "uncovered"]));
    assert_eq!(project.json(&["timeline"])["returned_count"], 2);
    assert!(!project.directory.join("migrations").exists());
}

/// A key that is a secret is recorded as a hash, and found by itself.
#[test]
fn hashed_keys() {
    let project = Project::new(Content::Migrated);
    project.run("CREATE TABLE sessions (token text PRIMARY KEY, ip text)");
    let hash = ["--hash-key", "sessions.token"];
    let dry = project.said(&[&["audit", "sessions", "--dry-run"], &hash[..]].concat());
    assert!(
        dry.contains("SELECT threadline.audit_table('sessions', hash_key => ARRAY['token']);"),
        "{dry}"
    );
    let refused = project.refused(&["audit", "sessions", "--apply", "--hash-key", "sessions.ip"]);
    assert!(
        refused.contains("column ip is not part of its primary key"),
        "{refused}"
    );
    project.said(&[&["audit", "sessions", "--apply"], &hash[..]].concat());
    project.run("INSERT INTO sessions VALUES ('secret-1', 'a')");
    let change = &project.json(&["history", "sessions", "secret-1"])["changes"][0];
    assert!(!change.to_string().contains("secret-1"), "{change}");
    let row = project.json(&["as-of", "sessions", "secret-1", "2999-01-01T00:00:00Z"]);
    assert_eq!(row["row"]["ip"], "a", "{row}");
    let dry = project.said(&["unaudit", "sessions", "--dry-run"]);
    assert!(dry.contains("hash_key => ARRAY['token']"), "{dry}");
}

/// Every table that nobody has decided about is audited at once, of one schema or of all.
#[test]
fn audited_all() {
    let project = Project::new(Content::Migrated);
    project.run(
        "CREATE SCHEMA blog; CREATE TABLE blog.posts (id int PRIMARY KEY, body text); CREATE TABLE users (id int PRIMARY KEY, email text);
         CREATE TABLE cache (id int); SELECT threadline.exempt_table('cache', 'it is made anew')",
    );
    let all = [
        "audit",
        "--all",
        "--schema",
        "blog",
        "--mask",
        "posts.body",
        "--apply",
    ];
    assert_eq!(project.said(&all), "Done: audit blog.posts\n");
    let all = ["audit", "--all", "--mask", "public.users.email", "--apply"];
    assert_eq!(project.said(&all), "Done: audit public.users\n");
    project.run(
        "INSERT INTO users VALUES (1, 'x@example.com'); INSERT INTO blog.posts VALUES (1, 'text')",
    );
    let changes = project.json(&["timeline"]);
    assert!(
        !changes.to_string().contains("example.com") && !changes.to_string().contains("text\"")
    );
    assert_eq!(
        project.threadline(&["coverage", "--strict"]).status.code(),
        Some(0)
    );
    let refused = project.refused(&["audit", "--all"]);
    assert!(
        refused.contains("no table that is neither audited nor exempt"),
        "{refused}"
    );
    for wrong in [
        &["audit"][..],
        &["audit", "users", "--all"],
        &["audit", "users", "--schema", "blog"],
        &["audit", "blog.posts", "--mask", "users.email"],
    ] {
        project.refused(wrong);
    }
}

/// All masks that are refused are told at once, of one table and of several.
#[test]
fn refused_at_once() {
    let project = Project::new(Content::Migrated);
    project.run(
        "CREATE TABLE users (id int PRIMARY KEY, a bytea, b bytea, c text); CREATE TABLE posts (id int PRIMARY KEY, d bytea)",
    );
    let masks = ["users.a", "users.b", "users.c", "public.posts.d"].map(|mask| ["--mask", mask]);
    let run = [&["audit", "users", "posts", "--apply"], &masks.concat()[..]].concat();
    let refused = project.refused(&run);
    for column in ["a", "b", "d"] {
        let reason = format!("column {column} of type bytea cannot hold the placeholder");
        assert!(refused.contains(&reason), "{refused}");
    }
    assert!(!refused.contains("column c "), "{refused}");
    assert_eq!(project.json(&["coverage"])[1]["state"], "uncovered");
}

/// A column that may be recorded, though its name is that of a secret, is exempt from the warning.
#[test]
fn exempt_column() {
    let project = Project::new(Content::Migrated);
    project
        .run("CREATE TABLE t (id int PRIMARY KEY, token text); SELECT threadline.audit_table('t')");
    let warnings = || project.json(&["health"]).as_array().unwrap().len();
    assert_eq!(warnings(), 1);
    let exempt = [
        "exempt",
        "--column",
        "t.token",
        "--reason",
        "it names a page",
    ];
    project.said(&[&exempt[..], &["--apply"]].concat());
    assert_eq!(warnings(), 0);
    project.said(&exempt);
    let name = project.migrations().pop().unwrap();
    let down = project
        .directory
        .join("migrations")
        .join(&name)
        .join("down.sql");
    project.run(&fs::read_to_string(down).unwrap());
    assert_eq!(warnings(), 1);
    project.refused(&["exempt", "--column", "t.none", "--reason", "r", "--apply"]);
    project.refused(&["exempt", "--reason", "r"]);
}

/// An exemption is a migration with its reason, which can be reverted; an audited table cannot be exempt.
#[test]
fn exempt() {
    let project = Project::with_changes();
    project.run("CREATE TABLE \"Sessions\" (id int)");
    let of = |reason| ["exempt", "\"Sessions\"", "--reason", reason];
    project.said(&of("Ada's cache: 'it' is made anew"));
    let name = project.migrations().pop().unwrap();
    assert!(name.ends_with("_exempt__sessions_"), "{name}");
    let sql = |file: &str| {
        fs::read_to_string(project.directory.join("migrations").join(&name).join(file)).unwrap()
    };
    project.run(&sql("up.sql"));
    let sessions = || project.json(&["coverage"])[0].clone();
    assert_eq!(sessions()["reason"], "Ada's cache: 'it' is made anew");
    project.run(&sql("down.sql"));
    assert_eq!(sessions()["state"], "uncovered");

    let applied = [&of("no use")[..], &["--apply"]].concat();
    assert_eq!(project.said(&applied), "Done: exempt \"Sessions\"\n");
    assert_eq!(sessions()["reason"], "no use");
    for wrong in [
        &["exempt", "users", "--reason", "no use", "--apply"][..],
        &["exempt", "\"Sessions\"", "--reason", " ", "--apply"],
        &["exempt", "nowhere", "--reason", "no use", "--apply"],
        &["exempt", "\"Sessions\""],
    ] {
        project.refused(wrong);
    }
}
