//! Who changed what: the commands that read the audit log.

use std::fs;
use std::process::Command;

use serde_json::json;
use threadline_test_support::Content;

use crate::project::Project;

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

/// Every command reads a key as the types of the table do, and refuses what is no key.
#[test]
fn keys_in_any_spelling() {
    let project = Project::with_changes();
    let rows = |run: &[&str]| project.json(run)["changes"].clone();
    let recorded = rows(&["history", "pairs", r#"[-1, "x, y"]"#]);
    assert!(!recorded.as_array().unwrap().is_empty());
    for key in [r#"[-1,"x, y"]"#, r#"["-01", "x, y"]"#] {
        assert_eq!(rows(&["history", "pairs", key]), recorded, "{key}");
        let timeline = ["timeline", "--table", "pairs", "--row-key", key];
        assert_eq!(rows(&timeline), recorded, "{key}");
        let held = [
            "hold",
            "place",
            "--table",
            "pairs",
            "--row-key",
            key,
            "--actor",
            "user:1",
            "--reason",
            "r",
        ];
        project.said(&held);
    }
    assert_eq!(
        project.json(&["hold", "list"])[0]["row_key"],
        r#"[-1, "x, y"]"#
    );
    assert_eq!(
        rows(&["history", "users", "01"]),
        rows(&["history", "users", "1"])
    );
    for run in [
        &["history", "users", "abc"][..],
        &["timeline", "--table", "users", "--row-key", "abc"],
        &["redact", "users", "abc", "--mask", "name"],
        &[
            "hold",
            "place",
            "--table",
            "users",
            "--row-key",
            "abc",
            "--actor",
            "user:1",
            "--reason",
            "r",
        ],
    ] {
        let refused = project.refused(run);
        assert!(
            refused.contains("'abc' is no key of public.users"),
            "{refused}"
        );
        assert!(refused.contains("The primary key is id "), "{refused}");
    }
    let refused = project.refused(&["history", "pairs", "[1]"]);
    assert!(
        refused.contains("Write it as a JSON array of 2 values"),
        "{refused}"
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
        project.json(&["as-of", "pairs", r#"[-1, "x, y"]"#, now])["row"],
        json!({"a": -1, "b": "x, y"})
    );
    let csv = project.said(&["as-of", "pairs", r#"[-1, "x, y"]"#, now, "--format", "csv"]);
    assert_eq!(csv, "column,value\na,-1\nb,\"\"\"x, y\"\"\"\n");
    let deleted = project.threadline(&["as-of", "users", "2", now, "--format", "csv"]);
    assert_eq!(String::from_utf8_lossy(&deleted.stdout), "column,value\n");
    assert_eq!(
        String::from_utf8_lossy(&deleted.stderr),
        "It had been deleted.\n"
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

/// A column may have any name that the command's own SQL uses, and one that is not recorded says so.
#[test]
fn as_of_any_columns() {
    let project = Project::new(Content::Migrated);
    let names = [
        "t", "r", "p", "i", "c", "n", "o", "x", "image", "record", "key", "op", "state", "missing",
    ];
    let columns: String = names
        .map(|name| format!(", \"{name}\" int DEFAULT 7"))
        .concat();
    project.run(&format!(
        "CREATE TABLE odd (id bigint PRIMARY KEY{columns}, secret text NOT NULL, note text, j json, big numeric);
         SELECT threadline.audit_table('odd', exclude => '{{secret,note}}');
         INSERT INTO odd (id, secret, note, j, big) VALUES (9007199254740993, 's', 's', '1e400000', 1234567890123456.7891), (2, 's', NULL, '1', 1)"
    ));
    let at = chrono::Utc::now().to_rfc3339();
    project.run("UPDATE odd SET t = 8, big = 1234567890123456.7892, secret = 'x'");
    let found = project.said(&["as-of", "odd", "9007199254740993", &at, "--format", "json"]);
    for name in names {
        assert!(found.contains(&format!("\"{name}\":7")), "{name}: {found}");
    }
    assert!(
        found.contains(r#""not_recorded":["j","note","secret"]"#)
            && !found.contains(r#""note":"#)
            && found.contains("1234567890123456.7891"),
        "{found}"
    );
    let table = project.said(&["as-of", "odd", "2", &at]);
    assert_eq!(table.matches("(not recorded)").count(), 2, "{table}");
    let csv = project.said(&["as-of", "odd", "9007199254740993", &at, "--format", "csv"]);
    assert!(csv.contains("secret,(not recorded)"), "{csv}");
    let live = project.said(&["as-of", "odd", "2", "2100-01-01", "--format", "json"]);
    assert!(
        live.contains("\"t\":8") && live.contains(r#""not_recorded":["note","secret"]"#),
        "{live}"
    );
    let history = project.said(&["timeline", "--op", "update"]);
    assert!(history.contains("1234567890123456.7891"), "{history}");
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
    let shown = project.json(&["transaction", id]);
    assert_eq!(shown["transaction"]["actions"][0]["reason"], "asked for");
    assert_eq!(shown["export"]["changes"][0]["op"], "delete");
    let shown = project.said(&["transaction", id]);
    assert!(
        shown.contains("user.removed")
            && shown.contains("admin 7")
            && shown.contains("public.users"),
        "{shown}"
    );
    let nobody = "00000000-0000-7000-8000-000000000000";
    assert_eq!(
        project.refused(&["transaction", nobody]),
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
    for (limit, summary) in [
        ("1", "1 change in 1 file\n"),
        ("2", "2 changes in 1 file\n"),
    ] {
        let output = project.threadline(&["export", "--limit", limit, "--directory", limit]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(summary), "{said}");
    }
    assert!(
        project
            .refused(&["export", "--format", "ndjson", "--directory", "all"])
            .contains("all has a finished export in it")
    );

    let truncated = project.threadline(&["export", "--limit", "2"]);
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
        "--since",
        "yesterday",
        "--op",
        "drop",
    ]);
    for name in ["actor", "since", "op"] {
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

/// Help, completions and the manual page are there without a database.
#[test]
fn help() {
    let project = Project::new(Content::Empty);
    let help = project.said(&["--help"]);
    for command in [
        "timeline",
        "history",
        "as-of",
        "transaction",
        "export",
        "install",
        "audit",
        "unaudit",
        "maintain",
        "coverage",
        "health",
        "Exit status",
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
