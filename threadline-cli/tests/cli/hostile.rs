//! What is in the database or on the command line gives no orders to a terminal or a spreadsheet.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output};

use serde_json::Value;
use threadline_test_support::{Content, needs};

use crate::project::Project;

/// Clears a line, begins another with a word of its own, and turns the direction of text.
const HOSTILE: &str = "\u{1b}[2K\r\nFAKED\t\u{9b}\u{202e}\u{200b}";

/// One of each kind.
const HIDDEN: &str = "\u{1}\u{7}\u{8}\u{1b}\u{7f}\u{80}\u{9b}\u{9d}\u{ad}\u{34f}\u{61c}\u{200b}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\
                      \u{2060}\u{2066}\u{2069}\u{3164}\u{e000}\u{fdd0}\u{feff}\u{fff9}\u{e0001}\u{e0041}\u{e0100}\u{10ffff}";

fn is_hidden(c: char) -> bool {
    c != '\n' && (c.is_control() || HIDDEN.contains(c) || HOSTILE.contains(c) && !c.is_ascii())
}

/// A table whose name, columns, rows, actors, reasons and settings all are hostile, in a schema that is no better.
fn hostile(text: &str) -> (Project, String) {
    let project = Project::new(Content::Migrated);
    let value = format!("{text}{HIDDEN}");
    let table = format!(r#""s{text}"."{text}""#);
    let literal = table.replace('\'', "''");
    project.run(&format!(
        r#"CREATE SCHEMA "s{text}"; CREATE TABLE "s{text}"."old{text}" (id int PRIMARY KEY); SELECT threadline.audit_table('"s{text}"."old{text}"');
           INSERT INTO "s{text}"."old{text}" VALUES (1); ALTER TABLE "s{text}"."old{text}" DISABLE TRIGGER USER;
           SELECT threadline.set_retention('90 days', '"s{text}"."old{text}"', false);
           UPDATE threadline.audit_changes SET captured_at = captured_at - interval '100 days';
           UPDATE threadline.audit_transactions SET occurred_at = occurred_at - interval '100 days';
           UPDATE threadline.audited_tables SET capture_since = capture_since - interval '101 days';
           CREATE TABLE {table} ("{text}" text PRIMARY KEY, "c{text}" text);
           CREATE TABLE "s{text}"."bare{text}" (id int); CREATE TABLE "s{text}"."exempt{text}" (id int);
           INSERT INTO {table} VALUES ('old{value}', 'x');
           SELECT threadline.audit_table('{literal}');
           SELECT threadline.exempt_table('"s{text}"."exempt{text}"', 'reason{value}');
           SELECT threadline.set_retention('1 year', '{literal}');
           BEGIN; SELECT set_config('threadline.actor_ref', json_build_object('type', 'user', 'id', 'a{text}')::text, true),
             set_config('threadline.context', json_build_object('source', 'src{text}', 'correlation_id', 'cor{text}', 'request_id', 'req{text}',
               'job_id', 'job{text}', 'meta', json_build_object('m{text}', '{value}'))::text, true);
           SELECT threadline.record_action('row.seen', reason => 'r{value}', actor_ref => json_build_object('type', 'user', 'id', 'b{text}')::jsonb);
           INSERT INTO {table} VALUES ('{value}', '{value}'); UPDATE {table} SET "c{text}" = 'new' WHERE "c{text}" <> 'x'; COMMIT"#
    ));
    (project, table)
}

fn transaction(project: &Project) -> String {
    let changes = project.json(&["timeline"]);
    let id = changes["changes"][0]["transaction_id"].as_str();
    id.unwrap().to_owned()
}

/// Everything that a program prints, on either output.
fn printed(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(both).unwrap()
}

#[track_caller]
fn assert_plain(printed: &str, arguments: &[&str]) {
    let hidden: BTreeSet<_> = printed.chars().filter(|&c| is_hidden(c)).collect();
    assert!(
        hidden.is_empty(),
        "{arguments:?}: {hidden:?} in {printed:?}"
    );
    let faked = printed.lines().find(|line| line.starts_with("FAKED"));
    assert_eq!(faked, None, "{arguments:?}");
}

/// The commands that the help of the program lists.
fn commands(project: &Project) -> BTreeSet<String> {
    let help = project.said(&["--help"]);
    let list = help.split_once("Commands:\n").unwrap().1;
    let list = list.split_once("\n\n").unwrap().0;
    let name = |line: &str| {
        let is_name = line.starts_with("  ") && !line.starts_with("   ");
        is_name.then(|| line.split_whitespace().next().unwrap().to_owned())
    };
    list.lines().filter_map(name).collect()
}

fn with(command: &[&str], rest: &[&str]) -> Vec<String> {
    let all = command.iter().chain(rest);
    all.map(ToString::to_string).collect()
}

/// Runs all of them, and returns the commands that printed an escape.
#[track_caller]
fn run(project: &Project, runs: &[Vec<String>]) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for arguments in runs {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let printed = printed(&project.threadline(&arguments));
        assert!(!printed.is_empty(), "{arguments:?}");
        assert!(!printed.contains("panicked"), "{arguments:?}: {printed}");
        assert_plain(&printed, &arguments);
        if printed.contains(r"\u{202e}") || printed.contains(r"\u202e") {
            named.insert(arguments[0].to_owned());
        }
    }
    named
}

/// Whatever is in the database, no command prints it as it is, in a table, a sentence or an error; and nothing begins a line of its own.
#[test]
fn for_people() {
    let (project, table) = &hostile(HOSTILE);
    let key = &format!("{HOSTILE}{HIDDEN}");
    let id = &transaction(project);
    let who = ["--actor", &format!("user:{HOSTILE}"), "--reason", key];
    let column = &format!("c{HOSTILE}");
    let bare = &format!(r#""s{HOSTILE}"."bare{HOSTILE}""#);
    let directory = &format!("d{HOSTILE}");
    let runs = [
        with(&["timeline"], &[]),
        with(&["timeline", "--limit", "1"], &[]),
        with(&["timeline", "--table"], &[table]),
        with(&["timeline", "--actor"], &[&format!("user:a{HOSTILE}")]),
        with(&["history"], &[table, key]),
        with(&["as-of"], &[table, key, "2100-01-01"]),
        with(&["transaction"], &[id]),
        with(&["coverage"], &[]),
        with(&["health"], &[]),
        with(&["status"], &[]),
        with(&["continuity"], &[]),
        with(
            &["hold", "place", "--table"],
            &[&[&**table, "--row-key", key], &who[..]].concat(),
        ),
        with(
            &["hold", "place", "--for-actor"],
            &[&[&*format!("user:{HOSTILE}")], &who[..]].concat(),
        ),
        with(&["hold", "list"], &[]),
        with(&["hold", "release", "1"], &who),
        with(
            &["retention", "set", "1 day", "--to-the-day", "--table"],
            &[table],
        ),
        with(&["retention", "list"], &[]),
        with(&["purge"], &[]),
        with(&["purge", "--apply"], &who),
        with(&["retention", "unset", "--table"], &[table]),
        with(
            &["redact"],
            &[table, key, "unknown\u{1b}\nFAKED", "--mask", column],
        ),
        with(
            &["redact", "--apply"],
            &[&[&**table, key, "--mask", column], &who[..]].concat(),
        ),
        with(&["baseline"], &[&[&**table], &who[..]].concat()),
        with(
            &["audit", "--all", "--apply", "--schema"],
            &[&format!("s{HOSTILE}")],
        ),
        with(&["audit", "--apply"], &[bare]),
        with(
            &["exempt", "--apply", "--reason"],
            &[key, "--column", &format!("{table}.c{HOSTILE}")],
        ),
        with(&["unaudit", "--apply"], &[bare]),
        with(&["exempt", "--apply", "--reason"], &[key, bare]),
        with(&["audit", "--migration-dir"], &[directory, bare]),
        with(&["install", "--migration-dir"], &[directory]),
        with(&["maintain"], &[]),
        with(&["refresh", "--table"], &[bare]),
        with(&["refresh"], &[]),
        with(&["upgrade"], &[]),
        with(&["export", "--format", "ndjson"], &[]),
        with(&["export", "--directory"], &[directory]),
        with(&["export", "--output"], &[&format!("o{HOSTILE}")]),
    ];
    let named = run(project, &runs);
    // It was there to be printed.
    for command in [
        "as-of",
        "audit",
        "continuity",
        "coverage",
        "exempt",
        "export",
        "health",
        "history",
        "hold",
        "install",
        "purge",
        "redact",
        "retention",
        "status",
        "timeline",
        "transaction",
        "unaudit",
    ] {
        assert!(named.contains(command), "{command} printed nothing hostile");
    }
    let run: BTreeSet<_> = runs.iter().map(|arguments| arguments[0].clone()).collect();
    let without_data = ["completions", "help"].map(ToOwned::to_owned);
    assert_eq!(
        commands(project),
        run.into_iter().chain(without_data).collect()
    );
}

/// The same for what is wrong with what a command got.
#[test]
fn errors() {
    let (project, table) = &hostile(HOSTILE);
    let key = &format!("{HOSTILE}{HIDDEN}");
    let who = ["--actor", "user:1", "--reason", "why"];
    let bare = &format!(r#""s{HOSTILE}"."bare{HOSTILE}""#);
    let directory = &format!("d{HOSTILE}");
    project.said(&["export", "--directory", directory]);
    let runs = [
        with(&["timeline", "--table"], &[&format!(r#""none{HOSTILE}""#)]),
        with(&["timeline", "--actor"], &[key]),
        with(&["timeline", "--op"], &[key, "--since", key]),
        with(&["timeline", "--before"], &[key]),
        with(&["history"], &[&format!("{table}.{table}"), key]),
        with(&["as-of"], &[table, key, key]),
        with(&["as-of"], &[bare, key, "2100-01-01"]),
        with(
            &["hold", "place", "--table"],
            &[&[bare.as_str()], &who[..]].concat(),
        ),
        with(&["retention", "set"], &[key]),
        with(&["redact"], &[table, key, "--mask", key]),
        with(&["redact"], &[table, key, "--substitute", key]),
        with(&["audit", "--mask"], &[key, table]),
        with(&["audit", "--all", "--schema"], &[key]),
        with(&["audit", "--apply"], &[key, key]),
        with(&["exempt", "--apply", "--reason"], &[key, "--column", key]),
        with(
            &["exempt", "--apply", "--reason"],
            &[key, "--column", &format!("{table}.{key}")],
        ),
        with(&["history"], &[table, key]),
        with(&["unaudit"], &[bare]),
        with(&["export", "--directory"], &[directory]),
        with(&["export", "--output"], &[&format!("none/{HOSTILE}")]),
        with(
            &["status", "--database-url"],
            &[&format!("postgres:///{HOSTILE}?host=/nowhere{HOSTILE}")],
        ),
    ];
    let named = run(project, &runs);
    let run: BTreeSet<_> = runs.iter().map(|arguments| arguments[0].clone()).collect();
    assert_eq!(named, run);
}

/// What clap says of an argument is escaped as well, where a shell passed on what somebody else wrote.
#[test]
fn arguments() {
    let project = Project::new(Content::Empty);
    for arguments in [
        &["timeline", "--format", HOSTILE][..],
        &["timeline", &format!("--x{HIDDEN}")],
        &[HIDDEN],
        &["transaction", "\u{1b}[2K"],
        &["hold", "release", "\u{202e}1"],
    ] {
        let output = project.threadline(arguments);
        assert_eq!(output.status.code(), Some(2));
        let printed = printed(&output);
        assert!(printed.starts_with("error: "), "{printed}");
        let hidden = printed.chars().find(|&c| is_hidden(c));
        assert_eq!(hidden, None, "{printed:?}");
    }
}

/// The arguments of each command that prints CSV and JSON.
fn machine_readable<'a>(
    table: &'a str,
    key: &'a str,
    id: &'a str,
    column: &'a str,
) -> Vec<Vec<&'a str>> {
    vec![
        vec!["as-of", table, key, "2100-01-01"],
        vec!["continuity"],
        vec!["coverage"],
        vec!["export"],
        vec!["health"],
        vec!["history", table, key],
        vec!["hold"],
        vec!["hold", "list"],
        vec!["purge"],
        vec!["redact", table, key, "--mask", column],
        vec!["retention"],
        vec!["retention", "list"],
        vec!["status"],
        vec!["timeline"],
        vec!["transaction", id],
    ]
}

/// None that has `--format csv` is left out.
fn assert_all(project: &Project, runs: &[Vec<&str>]) {
    let has_csv = |command: &String| {
        let help = project.said(&[command.as_str(), "--help"]);
        help.contains("csv")
    };
    let all = commands(project).into_iter().filter(|name| name != "help");
    let run: BTreeSet<_> = runs.iter().map(|run| run[0].to_owned()).collect();
    assert_eq!(all.filter(has_csv).collect::<BTreeSet<_>>(), run);
}

/// JSON has escapes for what a terminal acts on, and reads as what is in the database.
#[test]
fn json() {
    let (project, table) = &hostile(HOSTILE);
    let key = &format!("{HOSTILE}{HIDDEN}");
    let id = &transaction(project);
    let old = &format!(r#""s{HOSTILE}"."old{HOSTILE}""#);
    project.said(&[
        "hold", "place", "--table", old, "--actor", "user:1", "--reason", key,
    ]);
    let column = &format!("c{HOSTILE}");
    let runs = machine_readable(table, key, id, column);
    assert_all(project, &runs);
    for run in &runs {
        let output = project.threadline(&[run, &["--format", "json"][..]].concat());
        let json = String::from_utf8(output.stdout).unwrap();
        assert_plain(&json, run);
        let value: Value =
            serde_json::from_str(&json).unwrap_or_else(|error| panic!("{run:?}: {error}"));
        // Whatever has a name of ours has it as it is.
        let said = value.to_string();
        if said.contains("FAKED") {
            let name = serde_json::to_string(HOSTILE).unwrap();
            assert!(said.contains(name.trim_matches('"')), "{run:?}: {said}");
        }
    }
}

/// No cell of CSV is a formula, whatever tables, columns and reasons are called, and wherever a spreadsheet splits it. Numbers stay numbers.
#[test]
fn csv() {
    for name in ["=HYPERLINK(1)", " \t@SUM(1)", "＝1", "a;=1+1", "-1"] {
        let (project, table) = &hostile(name);
        let key = &format!("{name}{HIDDEN}");
        let id = &transaction(project);
        let old = &format!(r#""s{name}"."old{name}""#);
        project.said(&[
            "hold",
            "place",
            "--table",
            old,
            "--actor",
            "user:1",
            &format!("--reason={key}"),
        ]);
        let column = &format!("c{name}");
        let mut runs = machine_readable(table, key, id, column);
        // The key of one that looks like an option.
        for run in &mut runs {
            if run[0] == "redact" {
                *run = vec!["redact", table, "--mask", column, "--format=csv", "--", key];
            }
        }
        assert_all(project, &runs);
        for run in &runs {
            let format: &[&str] = if run[0] == "redact" {
                &[]
            } else {
                &["--format", "csv"]
            };
            let output = project.threadline(&[run, format].concat());
            let csv = String::from_utf8(output.stdout).unwrap();
            assert!(
                !csv.is_empty(),
                "{run:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let mut records = csv::Reader::from_reader(csv.as_bytes());
            for record in records.records() {
                for cell in &record.unwrap() {
                    assert_harmless(cell, run);
                }
            }
        }
    }
    let project = Project::with_changes();
    let csv = project.said(&[
        "as-of",
        "pairs",
        r#"[-1, "x, y"]"#,
        "2100-01-01",
        "--format",
        "csv",
    ]);
    assert!(csv.contains("a,-1\n"), "{csv}");
}

#[track_caller]
fn assert_harmless(cell: &str, run: &[&str]) {
    for part in cell.split([';', '\t', '\n', '\r']) {
        let blank = |c: char| c.is_whitespace() || is_hidden(c);
        let shown = part.trim_start_matches(blank);
        let is_formula = shown.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
        assert!(!is_formula, "{run:?}: {cell:?}");
    }
}

/// A terminal gets escapes in CSV and SQL too, which a pipe gets as they are.
#[needs(python3)]
#[test]
fn terminal() {
    let (project, table) = &hostile(HOSTILE);
    let reason = &format!("why{HIDDEN}");
    for arguments in [
        &["timeline", "--format", "csv"][..],
        &["timeline"],
        &["export", "--format", "csv"],
        &["coverage", "--format", "csv"],
        &["exempt", "--dry-run", "--reason", reason, table],
    ] {
        let shown = Command::new("python3")
            .args([
                "-c",
                "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)",
            ])
            .arg(env!("CARGO_BIN_EXE_threadline"))
            .args(arguments)
            .env("DATABASE_URL", project.database.url())
            .current_dir(&project.directory)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        // The terminal itself ends lines so.
        let shown = printed(&shown).replace("\r\n", "\n").replace('\t', " ");
        assert!(
            shown.contains(r"\u{202e}") || shown.contains(r"\u202e"),
            "{shown}"
        );
        let hidden = shown.chars().find(|&c| is_hidden(c));
        assert_eq!(hidden, None, "{arguments:?}: {shown:?}");
    }
    let sql = project.said(&["exempt", "--dry-run", "--reason", reason, table]);
    assert!(sql.contains(reason.as_str()) && sql.contains(table.as_str()));
}

/// A file is written by its own name alone, for its owner alone, and replaces what had the name once it is whole.
#[test]
fn output_file() {
    let project = Project::with_changes();
    let at = |name: &str| project.directory.join(name);
    fs::write(at("kept"), "kept").unwrap();
    symlink("kept", at("link")).unwrap();
    symlink("new", at("dangling")).unwrap();
    for name in ["link", "dangling"] {
        let refused = project.refused(&["export", "--output", name]);
        assert!(refused.contains("is a symbolic link"), "{refused}");
    }
    assert_eq!(fs::read_to_string(at("kept")).unwrap(), "kept");
    assert!(!at("new").exists());

    fs::hard_link(at("kept"), at("second")).unwrap();
    project.said(&["export", "--output", "second"]);
    assert_eq!(fs::read_to_string(at("kept")).unwrap(), "kept");
    assert!(fs::read_to_string(at("second")).unwrap().starts_with("id,"));
    let mode = fs::metadata(at("second")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    project.refused(&["export", "--output", "never", "--table", "nothing"]);
    let names = fs::read_dir(&project.directory).unwrap();
    assert_eq!(names.count(), 4, "something is left over");
    project.said(&["export", "--output", "/dev/null"]);
}
