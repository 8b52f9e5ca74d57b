use std::fmt::Display;
use std::io::{self, Write};

use comfy_table::ContentArrangement;
use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use serde_json::{Map, Value};
use terminal_size::{Width, terminal_size};

use super::plain::{cell, plain};
use super::{CsvCell, csv, json};
use crate::Result;
use crate::arguments::Format;

/// A table for people. Each cell is one of escaped text.
pub(crate) struct Table(comfy_table::Table);

/// A table as wide as the terminal; without one, as wide as it gets, for programs to read.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = comfy_table::Table::new();
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
    Table(table)
}

impl Table {
    pub(crate) fn add_row(&mut self, cells: impl IntoIterator<Item = impl Display>) {
        let cells = cells.into_iter().map(|cell| plain(&cell).to_string());
        self.0.add_row(cells.collect::<Vec<_>>());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.row_count() == 0
    }

    pub(crate) fn print(&self) -> Result<()> {
        Ok(writeln!(io::stdout(), "{}", self.0)?)
    }
}

/// Rows with a name for each column, whatever they are of.
pub(crate) fn print<const N: usize>(
    format: Format,
    header: [&str; N],
    rows: impl Iterator<Item = [Value; N]>,
) -> Result<()> {
    match format {
        Format::Csv => csv(header, rows.map(|row| row.map(csv_cell))),
        Format::Json => {
            let object = |row: [Value; N]| -> Value {
                header
                    .iter()
                    .map(|&name| name.to_owned())
                    .zip(row)
                    .collect::<Map<_, _>>()
                    .into()
            };
            json(&rows.map(object).collect::<Value>())
        }
        Format::Table => {
            let mut table = table(header);
            for row in rows {
                table.add_row(row.iter().map(cell));
            }
            table.print()
        }
    }
}

fn csv_cell(value: Value) -> CsvCell<'static> {
    match value {
        Value::Null => CsvCell::Text("".into()),
        Value::String(text) => CsvCell::Text(text.into()),
        other => CsvCell::Json(other.to_string().into()),
    }
}
