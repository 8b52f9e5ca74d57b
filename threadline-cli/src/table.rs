use std::io::{self, Write};

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{ContentArrangement, Table};
use serde_json::{Map, Value};
use terminal_size::{Width, terminal_size};

use crate::Result;
use crate::arguments::Format;

/// A table as wide as the terminal; without one, as wide as it gets, for programs to read.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    match terminal_size() {
        Some((Width(width), _)) => {
            table.load_style(NOTHING);
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        None => {
            table.load_style(ASCII_MARKDOWN);
        }
    }
    table.set_header(header);
    table
}

/// Rows with a name for each column, whatever they are of.
pub(crate) fn print<const N: usize>(
    format: Format,
    header: [&str; N],
    rows: impl Iterator<Item = [Value; N]>,
) -> Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(header)?;
            for row in rows {
                csv.write_record(row.iter().map(cell))?;
            }
            csv.flush()?;
        }
        Format::Json => {
            let object = |row: [Value; N]| {
                header
                    .iter()
                    .map(|&name| name.to_owned())
                    .zip(row)
                    .collect::<Map<_, _>>()
            };
            let objects: Vec<_> = rows.map(object).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&objects)?)?;
        }
        Format::Table => {
            let mut table = table(header);
            for row in rows {
                table.add_row(row.iter().map(cell));
            }
            writeln!(out, "{table}")?;
        }
    }
    Ok(())
}

pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
