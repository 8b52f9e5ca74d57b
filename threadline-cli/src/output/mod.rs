//! All that is printed goes through here, so that nothing in the database or on the command line can give orders to a terminal or a spreadsheet.
//! `clippy.toml` refuses other ways out.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod at_once;
mod exact;
mod plain;
mod table;

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};

use clap::Parser;
use serde_json::Value;
use threadline::ExportFormat;

pub(crate) use at_once::AtOnce;
pub(crate) use exact::exact;
pub(crate) use plain::{cell, plain};
pub(crate) use table::{Table, print, table};

use crate::Result;

/// Prints a line for people. Each argument is escaped, and stands on that line whatever it is. Braces cannot capture a variable, as that would get
/// around it.
macro_rules! say {
    ($format:literal $(, $argument:expr)* $(,)?) => {
        $crate::output::say_line(format_args!(concat!($format), $($crate::output::plain(&$argument)),*))
    };
}

/// The same on standard error.
macro_rules! note {
    ($format:literal $(, $argument:expr)* $(,)?) => {
        $crate::output::note_line(format_args!(concat!($format), $($crate::output::plain(&$argument)),*))
    };
}

pub(crate) use {note, say};

/// What [`say!`] calls, and nobody else.
pub(crate) fn say_line(line: Arguments<'_>) -> Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// What [`note!`] calls, and nobody else.
pub(crate) fn note_line(line: Arguments<'_>) {
    // Where else could it be said that this failed?
    let _ = writeln!(io::stderr(), "{line}");
}

/// Says on standard error what is wrong, in as many lines as it has; all but the first are indented, and so begin with no word of ours.
pub(crate) fn complain(what: &str, message: &str) {
    let mut lines = message.lines().filter(|line| !line.trim().is_empty());
    note!("{}: {}", what, lines.next().unwrap_or_default());
    for line in lines {
        note!("    {}", line.trim());
    }
}

/// Prints what clap says, in colours, unless an argument has something in it that a terminal would act on: then it says it of the escaped arguments.
pub(crate) fn exit(said: clap::Error) -> ! {
    let is_hidden = |c: char| c != '\n' && ExportFormat::is_hidden(c);
    let arguments: Vec<_> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let has_lines = arguments.iter().any(|argument| argument.contains('\n'));
    if !has_lines && !said.render().to_string().contains(is_hidden) {
        said.exit();
    }
    let escaped = arguments.iter().map(|argument| plain(argument).to_string());
    let said = crate::Arguments::try_parse_from(escaped)
        .err()
        .unwrap_or(said);
    let text = plain::escape(&said.render().to_string(), |c| c == '\n');
    if said.use_stderr() {
        let _ = write!(io::stderr(), "{text}");
    } else {
        let _ = write!(io::stdout(), "{text}");
    }
    std::process::exit(said.exit_code())
}

/// Prints JSON for programs.
pub(crate) fn json(value: &Value) -> Result<()> {
    let json = serde_json::to_string_pretty(value)?;
    writeln!(exact(), "{}", ExportFormat::visible_json(&json))?;
    Ok(())
}

/// Prints records of CSV for programs: cells of JSON values, of which numbers stay numbers, and text is no formula.
pub(crate) fn csv<'a, const N: usize>(
    header: [&str; N],
    records: impl Iterator<Item = [CsvCell<'a>; N]>,
) -> Result<()> {
    let mut csv = csv::Writer::from_writer(exact());
    csv.write_record(header)?;
    for record in records {
        csv.write_record(record.iter().map(|cell| match cell {
            CsvCell::Json(json) => ExportFormat::csv_json(json).into_owned(),
            CsvCell::Text(text) => ExportFormat::csv_text(text).into_owned(),
        }))?;
    }
    Ok(csv.flush()?)
}

/// What a cell of CSV has in it.
pub(crate) enum CsvCell<'a> {
    /// A number, `true`, or anything else as JSON writes it.
    Json(std::borrow::Cow<'a, str>),
    Text(std::borrow::Cow<'a, str>),
}

/// Whether people read standard output.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether people read standard error.
pub(crate) fn is_terminal_for_notes() -> bool {
    io::stderr().is_terminal()
}
