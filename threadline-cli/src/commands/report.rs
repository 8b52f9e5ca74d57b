use std::io::{self, Write};
use std::process::ExitCode;

use diesel::{PgConnection, RunQueryDsl};
use serde_json::{Map, Value, json};
use threadline::{CoverageState, Severity, TableCoverage};

use crate::Result;
use crate::arguments::{Coverage, Format, Output};
use crate::table::table;

/// Something was found that a script is to stop at.
fn found(found: bool) -> ExitCode {
    if found {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

pub(crate) fn coverage(conn: &mut PgConnection, arguments: &Coverage) -> Result<ExitCode> {
    let tables: Vec<TableCoverage> = threadline::coverage().load(conn)?;
    let row = |t: &TableCoverage| {
        let since = t.capture_since.map(|since| since.to_rfc3339());
        let granularity = t.granularity.map(threadline::Granularity::as_str);
        [
            json!(t.table_schema),
            json!(t.table_name),
            json!(t.state.as_str()),
            json!(granularity),
            json!(since),
            json!(t.reason),
        ]
    };
    let header = ["schema", "table", "state", "granularity", "since", "reason"];
    print(&arguments.output, header, tables.iter().map(row))?;
    let uncovered = tables
        .iter()
        .any(|table| table.state == CoverageState::Uncovered);
    Ok(found(arguments.strict && uncovered))
}

pub(crate) fn health(conn: &mut PgConnection, output: &Output) -> Result<ExitCode> {
    let health = threadline::check_health(conn)?;
    let problems = health.problems.iter().map(|p| {
        [
            json!(p.severity.as_str()),
            json!(p.check),
            json!(p.table_schema),
            json!(p.table_name),
            json!(p.message),
            json!(p.hint),
        ]
    });
    let pending = health.pending_migrations.iter().flatten().map(|migration| {
        let message = format!("migration {migration} has not run");
        [
            json!(Severity::Error.as_str()),
            json!("pending_migration"),
            Value::Null,
            Value::Null,
            json!(message),
            json!("threadline install, and diesel migration run"),
        ]
    });
    let header = ["severity", "check", "schema", "table", "problem", "hint"];
    let rows: Vec<_> = problems.chain(pending).collect();
    if rows.is_empty() && output.format == Format::Table {
        writeln!(io::stdout(), "Nothing is wrong")?;
        return Ok(ExitCode::SUCCESS);
    }
    let errors = rows
        .iter()
        .any(|[severity, ..]| severity == Severity::Error.as_str());
    print(output, header, rows.into_iter())?;
    Ok(found(errors))
}

pub(super) fn print<const N: usize>(
    output: &Output,
    header: [&str; N],
    rows: impl Iterator<Item = [Value; N]>,
) -> Result<()> {
    let mut out = io::stdout().lock();
    match output.format {
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

fn cell(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
