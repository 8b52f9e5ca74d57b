use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};
use std::str::FromStr;

use threadline_benches::Result;
use threadline_test_support::{Database, pg_bin};

/// How much a run does.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) scale: u32,
    pub(super) clients: u32,
    pub(super) seconds: u32,
}

/// What pgbench says of a run.
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    pub(super) transactions: i64,
    pub(super) tps: f64,
}

/// Creates the four tables and fills them.
pub(super) fn initialise(database: &Database, scale: u32) -> Result<()> {
    let mut pgbench = command(database);
    pgbench.args(["-i", "-q", "-s", &scale.to_string()]);
    output(&mut pgbench, "")?;
    Ok(())
}

/// Runs a script. The options, `-c name=value`, are settings of the sessions.
pub(super) fn run(database: &Database, options: &str, load: Load, script: &str) -> Result<Outcome> {
    let [scale, clients, seconds] = [load.scale, load.clients, load.seconds].map(|n| n.to_string());
    let mut pgbench = command(database);
    pgbench
        .env("PGOPTIONS", options)
        .args(["-n", "-M", "prepared", "-s", &scale])
        .args(["-c", &clients, "-j", &clients, "-T", &seconds, "-f", "-"]);
    let report = output(&mut pgbench, script)?;
    // Version 15 is the first that counts them.
    if said(&report, "number of failed transactions: ").is_some_and(|failed: i64| failed > 0) {
        return Err(format!("transactions of pgbench failed:\n{report}").into());
    }
    let missing = |what| format!("pgbench does not say {what}:\n{report}");
    Ok(Outcome {
        transactions: said(&report, "number of transactions actually processed: ")
            .ok_or_else(|| missing("how many transactions it ran"))?,
        tps: said(&report, "tps = ").ok_or_else(|| missing("how many that are a second"))?,
    })
}

fn command(database: &Database) -> Command {
    // With DATABASE_URL it may stand elsewhere.
    let beside_server = pg_bin().join("pgbench");
    let mut pgbench = Command::new(if beside_server.is_file() {
        beside_server
    } else {
        "pgbench".into()
    });
    pgbench.envs(database.pg_env()).env("LC_ALL", "C");
    pgbench
}

/// What it prints, with this on its standard input.
fn output(pgbench: &mut Command, input: &str) -> Result<String> {
    let mut child = pgbench
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => "there is no pgbench beside the server nor on PATH".to_owned(),
            _ => format!("pgbench does not start: {error}"),
        })?;
    // Dropped at once: pgbench reads the script to its end.
    let written = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("pgbench fails, {}:\n{errors}", output.status).into());
    }
    written.transpose()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The number behind the last of such words. Before version 14 there are two lines of `tps`, the first with the time to connect.
fn said<T: FromStr>(report: &str, words: &str) -> Option<T> {
    let behind = report
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(words))?;
    behind.split(' ').next()?.parse().ok()
}
