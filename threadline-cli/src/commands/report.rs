use std::process::ExitCode;

use diesel::RunQueryDsl;
use serde_json::json;
use threadline::{BaselineState, CoverageState, Severity, TableContinuity, TableCoverage};

use crate::Result;
use crate::arguments::{Coverage, Format, Output};
use crate::connection::{Database, wait};
use crate::output::{print, say};

/// Something was found that a script is to stop at.
fn found(found: bool) -> ExitCode {
    if found {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

pub(crate) fn coverage(conn: &mut Database, arguments: &Coverage) -> Result<ExitCode> {
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
    print(arguments.output.format, header, tables.iter().map(row))?;
    let uncovered = tables
        .iter()
        .any(|table| table.state == CoverageState::Uncovered);
    Ok(found(arguments.strict && uncovered))
}

pub(crate) fn health(conn: &mut Database, output: &Output) -> Result<ExitCode> {
    let health = wait(threadline::check_health(&mut **conn))?;
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
    let header = ["severity", "check", "schema", "table", "problem", "hint"];
    let rows: Vec<_> = problems.collect();
    if rows.is_empty() && output.format == Format::Table {
        say!("Nothing is wrong")?;
        return Ok(ExitCode::SUCCESS);
    }
    let errors = rows
        .iter()
        .any(|[severity, ..]| severity == Severity::Error.as_str());
    print(output.format, header, rows.into_iter())?;
    Ok(found(errors))
}

pub(crate) fn continuity(conn: &mut Database, output: &Output) -> Result<()> {
    let tables: Vec<TableContinuity> = threadline::continuity().load(conn)?;
    let row = |t: &TableContinuity| {
        [
            json!(t.table_schema),
            json!(t.table_name),
            json!(t.state.as_str()),
            json!(t.ready),
            json!(t.readable_since.map(|since| since.to_rfc3339())),
            json!(t.row_estimate),
            json!(t.baseline.map(BaselineState::as_str)),
            json!(t.baseline_rows),
            json!(t.message),
            json!(t.hint),
        ]
    };
    let header = [
        "schema",
        "table",
        "state",
        "ready",
        "since",
        "rows",
        "baseline",
        "snapshots",
        "known",
        "hint",
    ];
    print(output.format, header, tables.iter().map(row))
}
