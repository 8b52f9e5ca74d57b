//! Runs a command with a database of its own: `with-postgres [--empty] COMMAND ARGUMENTS…`
//!
//! The command finds it in `DATABASE_URL`, and in `PGHOST`, `PGDATABASE` and the like. Threadline's
//! migrations have run in it, unless `--empty` is given. The exit code is the command's.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use threadline_test_support::{Content, Database};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).peekable();
    let content = match arguments.next_if(|argument| argument == "--empty") {
        Some(_) => Content::Empty,
        None => Content::Migrated,
    };
    let Some(program) = arguments.next() else {
        eprintln!("usage: with-postgres [--empty] COMMAND ARGUMENTS…");
        return ExitCode::from(2);
    };
    run(content, &program, arguments).unwrap_or_else(|message| {
        eprintln!("with-postgres: {message}");
        ExitCode::FAILURE
    })
}

fn run(
    content: Content,
    program: &OsString,
    arguments: impl Iterator<Item = OsString>,
) -> Result<ExitCode, String> {
    let db = Database::create(content).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("DATABASE_URL", db.url())
        .envs(db.pg_env());
    let status = command
        .status()
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    // As shells do, when a signal ended the command.
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}
