//! `threadline`: who changed what, when and why, from the command line.

mod arguments;
mod commands;
mod connection;
mod filters;
mod output;
mod progress;

use std::error::Error;
use std::io;
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    // As the diesel command line does: a project has its DATABASE_URL there.
    let _ = dotenvy::dotenv();
    let arguments = Arguments::try_parse().unwrap_or_else(|said| output::exit(said));
    let done = commands::run(arguments);
    connection::finish();
    match done {
        Ok(code) => code,
        // Whoever reads our output has enough, as `head` has.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let message = with_causes(&*error);
            output::complain("error", &message);
            if let Some(hint) = hint(&*error).filter(|hint| !message.contains(hint)) {
                output::complain("hint", hint);
            }
            ExitCode::from(2)
        }
    }
}

/// An error and what caused it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// What went wrong, and why: no source stands in the message of an error that has it.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut causes: Vec<_> = causes(error).map(ToString::to_string).collect();
    causes.dedup();
    causes.join(": ")
}

/// What to do about it, as the database says; without the schema it has nothing to say.
fn hint<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a str> {
    causes(error).find_map(|error| {
        if let Some(threadline::Error::NotMigrated) = error.downcast_ref() {
            return Some(INSTALL);
        }
        match error.downcast_ref()? {
            diesel::result::Error::DatabaseError(_, said) => {
                let message = said.message();
                let not_installed = message == r#"schema "threadline" does not exist"#
                    || message.starts_with(r#"relation "threadline."#);
                said.hint().or(not_installed.then_some(INSTALL))
            }
            _ => None,
        }
    })
}

const INSTALL: &str = "threadline install --apply, or threadline install and diesel migration run";

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|error| {
        let io = error.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
