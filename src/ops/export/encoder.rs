use std::cell::RefCell;
use std::io::{self, Write};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Serializer, Value};

use super::change::{Change, Transaction, changed_fields, time};
use super::format::ExportFormat;
use super::page::ExportRow;
use super::text::{Visible, json_cell, text_cell, visible_json};
use crate::query::TimelineCursor;

/// Encodes changes as bytes, and collects the bytes until they are taken.
pub(super) struct Encoder {
    output: Output,
    is_first: bool,
}

enum Output {
    Csv(Box<csv::Writer<Bytes>>),
    Json(Bytes),
    Ndjson(Bytes),
}

/// The buffer of the CSV writer, which owns its output.
#[derive(Default)]
struct Bytes(RefCell<Vec<u8>>);

impl Write for &Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const CSV_HEADER: [&str; 14] = [
    "id",
    "transaction_id",
    "table_schema",
    "table_name",
    "op",
    "captured_at",
    "table_pk",
    "data_after",
    "changed_fields",
    "changed_from",
    "transaction_json",
    "row_key",
    "moved_key",
    "actions_json",
];

impl Encoder {
    pub(super) fn new(format: ExportFormat) -> Self {
        let output = match format {
            ExportFormat::Csv => {
                let mut builder = csv::WriterBuilder::new();
                builder.terminator(csv::Terminator::CRLF);
                Output::Csv(Box::new(builder.from_writer(Bytes::default())))
            }
            ExportFormat::Json => Output::Json(Bytes::default()),
            ExportFormat::Ndjson => Output::Ndjson(Bytes::default()),
        };
        Self {
            output,
            is_first: true,
        }
    }

    /// Writes the part before the changes.
    pub(super) fn begin(&mut self, generated_at: DateTime<Utc>, filter: &Value) -> io::Result<()> {
        match &mut self.output {
            Output::Csv(csv) => Ok(csv.write_record(CSV_HEADER)?),
            Output::Json(bytes) => write!(
                bytes,
                r#"{{"format_version":1,"generated_at":"{}","filter":{},"changes":["#,
                time(generated_at),
                visible_json(&filter.to_string())
            ),
            Output::Ndjson(_) => Ok(()),
        }
    }

    pub(super) fn push(&mut self, row: &ExportRow) -> io::Result<()> {
        let is_first = std::mem::take(&mut self.is_first);
        match &mut self.output {
            Output::Csv(csv) => write_csv(csv, row),
            Output::Json(bytes) => {
                bytes.write_all(if is_first { b"\n" } else { b",\n" })?;
                write_json(bytes, row)
            }
            Output::Ndjson(bytes) => {
                write_json(bytes, row)?;
                bytes.write_all(b"\n")
            }
        }
    }

    /// Writes the part after the changes.
    pub(super) fn end(&mut self, changes: u64, next: Option<TimelineCursor>) -> io::Result<()> {
        let Output::Json(bytes) = &mut self.output else {
            return Ok(());
        };
        let rest = Rest {
            returned_count: changes,
            truncated: next.is_some(),
            next,
        };
        bytes.write_all(b"\n],")?;
        // Its members continue the object that is still open.
        bytes.write_all(&serde_json::to_vec(&rest)?[1..])?;
        bytes.write_all(b"\n")
    }

    /// Returns the number of collected bytes, not counting those that the CSV writer still buffers.
    pub(super) fn len(&self) -> usize {
        self.bytes().0.borrow().len()
    }

    pub(super) fn take(&mut self) -> io::Result<Vec<u8>> {
        if let Output::Csv(csv) = &mut self.output {
            csv.flush()?;
        }
        Ok(self.bytes().0.take())
    }

    fn bytes(&self) -> &Bytes {
        match &self.output {
            Output::Csv(csv) => csv.get_ref(),
            Output::Json(bytes) | Output::Ndjson(bytes) => bytes,
        }
    }
}

fn write_json(bytes: &Bytes, row: &ExportRow) -> io::Result<()> {
    let mut json = Serializer::with_formatter(bytes, Visible);
    Ok(Change::of(row)?.serialize(&mut json)?)
}

/// Writes the columns of the sibling library first, with the same text for missing values, and then
/// this library's own columns.
fn write_csv(csv: &mut csv::Writer<Bytes>, row: &ExportRow) -> io::Result<()> {
    let transaction = serde_json::to_string(&Transaction::of(row)?)?;
    let changed_fields = serde_json::to_string(&changed_fields(row)?)?;
    let quoted = |key: &Option<String>| key.as_ref().map(serde_json::to_string).transpose();
    let row_key = quoted(&row.row_key)?.unwrap_or_default();
    let moved_key = quoted(&row.moved_key)?.unwrap_or_default();
    csv.write_field(row.position.id().to_string())?;
    csv.write_field(row.transaction_id.to_string())?;
    csv.write_field(&*text_cell(&row.table_schema))?;
    csv.write_field(&*text_cell(&row.table_name))?;
    csv.write_field(&*text_cell(&row.op))?;
    csv.write_field(time(row.position.captured_at()))?;
    for json in [
        &row.table_pk,
        row.data_after.as_deref().unwrap_or("{}"),
        &changed_fields,
        row.changed_from.as_deref().unwrap_or("{}"),
        &transaction,
        &row_key,
        &moved_key,
        &row.actions,
    ] {
        csv.write_field(&*json_cell(json))?;
    }
    Ok(csv.write_record(None::<&[u8]>)?)
}

#[derive(Serialize)]
struct Rest {
    returned_count: u64,
    truncated: bool,
    next: Option<TimelineCursor>,
}
