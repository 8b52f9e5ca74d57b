use std::fs;
use std::path::Path;

use threadline_benches::Result;

use crate::report::Report;

/// Writes the tables between the comments that name them: the targets in CONTRIBUTING.md if all were measured, and all other tables
/// in docs/performance.md.
pub(crate) fn write(report: &Report) -> Result<()> {
    let complete = report.is_complete();
    let sections = report.sections().into_iter();
    let tables = sections
        .filter(|s| complete || s.name != "targets")
        .map(|s| (s.name, s.table.to_string()));
    let tpcb = report.tpcb.iter().map(|t| ("tpcb", t.to_string()));
    let timeline = report
        .timeline
        .iter()
        .map(|r| ("timeline", r.table().to_string()));
    let time_travel = report
        .time_travel
        .iter()
        .map(|r| ("time-travel", r.table().to_string()));
    let version = &report.server["server_version"];
    for (name, table) in tables.chain(tpcb).chain(timeline).chain(time_travel) {
        let page = if name == "targets" {
            "CONTRIBUTING.md"
        } else {
            "docs/performance.md"
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
        let text = fs::read_to_string(&path)?;
        let begin = format!("<!-- measured: {name} -->\n");
        let missing = || format!("{page} has no place for {name}");
        let (before, rest) = text.split_once(&begin).ok_or_else(missing)?;
        let (_, after) = rest.split_once("<!-- end -->").ok_or_else(missing)?;
        let measured = format!("{table}\n\n{}, PostgreSQL {version}", report.machine);
        fs::write(
            path,
            format!("{before}{begin}\n{measured}\n\n<!-- end -->{after}"),
        )?;
    }
    Ok(())
}
