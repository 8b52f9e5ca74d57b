//! `with-postgres`, and with it the end of a cluster.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn with_postgres(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_with-postgres"));
    // These tests are about a cluster of one's own.
    command.env_remove("DATABASE_URL").args(arguments);
    command
}

/// Waits until the cluster in `directory` has left nothing behind, neither files nor its server.
fn assert_gone(directory: &Path, server: &str) {
    // By the shell, which has a `kill` of its own.
    let running = || {
        let mut kill = Command::new("sh");
        kill.args(["-c", r#"kill -0 "$1""#, "sh", server])
            .stderr(Stdio::null());
        kill.status().unwrap().success()
    };
    let start = Instant::now();
    while directory.exists() || running() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{} or server {server} is still there",
            directory.display()
        );
        sleep(Duration::from_millis(10));
    }
}

fn next_line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// Runs `with-postgres` until it has a server, ends it with `end`, and wants everything gone.
fn ends(end: impl FnOnce(&mut Child)) {
    // The command ends with its standard input, so that it does not outlive a killed with-postgres.
    let mut owner = with_postgres(&["sh", "-c", r#"echo "$PGHOST"; cat"#])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(owner.stdout.take().unwrap());
    let directory = next_line(&mut output);
    let directory = Path::new(&directory);
    let pid_file = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap();
    let server = pid_file.lines().next().unwrap();
    end(&mut owner);
    drop(owner.stdin.take());
    owner.wait().unwrap();
    assert_gone(directory, server);
}

/// A cluster ends with its owner's normal end.
#[test]
fn ends_with_its_owner() {
    ends(|_| {});
}

/// A cluster ends when its owner is killed and can do nothing about it.
#[test]
fn ends_with_a_killed_owner() {
    ends(|owner| owner.kill().unwrap());
}

/// The exit code of the command is passed on.
#[test]
fn passes_the_exit_code_on() {
    assert_eq!(
        with_postgres(&["--empty", "sh", "-c", "exit 7"])
            .status()
            .unwrap()
            .code(),
        Some(7)
    );
    assert_eq!(
        with_postgres(&["--empty", "sh", "-c", "kill -9 $$"])
            .status()
            .unwrap()
            .code(),
        Some(128 + 9)
    );
}

/// With `DATABASE_URL` the database is one more on that server, and is dropped again.
#[test]
fn uses_a_given_server() {
    let program = env!("CARGO_BIN_EXE_with-postgres");
    let script = r#"
        set -e
        inner=$("$1" sh -c 'echo "$PGHOST $PGDATABASE"; "$0" -Atc "SELECT count(*) FROM __diesel_schema_migrations"' "$2")
        echo "$PGHOST $PGDATABASE"
        echo "$inner"
        "$2" -Atc "SELECT count(*) FROM pg_database WHERE datname LIKE 'threadline%'"
    "#;
    let psql = threadline_test_support::pg_bin().join("psql");
    let arguments = [
        "--empty",
        "sh",
        "-c",
        script,
        "sh",
        program,
        psql.to_str().unwrap(),
    ];
    let output = with_postgres(&arguments)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let [outer, inner, migrations, left] = output.lines().collect::<Vec<_>>()[..] else {
        panic!("{output}")
    };
    let words = |line: &str| {
        line.split_once(' ')
            .map(|(host, name)| (host.to_owned(), name.to_owned()))
            .unwrap()
    };
    assert_eq!(words(outer).0, words(inner).0, "the same server");
    assert_ne!(words(outer).1, words(inner).1, "another database");
    assert_ne!(migrations, "0");
    assert_eq!(left, "1", "only the outer database is left");
}
