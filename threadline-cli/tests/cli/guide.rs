//! `docs/getting-started.md` is run as it stands, and everything that is printed is compared.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use chrono::DateTime;
use threadline_test_support::{Content, pg_bin};
use uuid::Uuid;

use crate::project::Project;

/// Stands between the outputs of two commands.
const NEXT: &str = "\u{1e}";

/// Whoever follows the guide sees what it shows: `[..]` stands for anything in a line, `...` for any lines, and of times,
/// ids and the width of columns only that they are there.
#[test]
fn getting_started() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/getting-started.md");
    let commands = commands(&fs::read_to_string(guide).unwrap());
    assert!(commands.len() > 20, "{commands:?}");
    let project = Project::new(Content::Empty);
    let (mut shown, mut printed) = (String::new(), String::new());
    for ((command, output), actual) in commands.iter().zip(run(&project, &commands)) {
        shown += &format!("$ {command}\n{}", alike(output));
        printed += &format!("$ {command}\n{}", alike(&actual));
    }
    snapbox::Assert::new()
        .normalize_paths(false)
        .eq(printed, shown);
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
            *output += &format!("{line}\n");
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
    let script: String = commands
        .iter()
        .map(|(command, _)| format!("{command}\nthen=$?; printf '{NEXT}'; (exit $then)\n"))
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
