use std::fs;
use std::path::Path;

use crate::report::Report;
use threadline_benches::Result;

/// Writes the tables that were measured between the comments of docs/performance.md that name them.
pub(crate) fn write(report: &Report) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md");
    let mut guide = fs::read_to_string(&path)?;
    let mut tables: Vec<_> = report
        .sections()
        .into_iter()
        .map(|section| (section.name, section.table.to_string()))
        .collect();
    if let Some(timeline) = &report.timeline {
        tables.push(("timeline", timeline.table().to_string()));
    }
    if let Some(time_travel) = &report.time_travel {
        tables.push(("time-travel", time_travel.table().to_string()));
    }
    let server = &report.server["server_version"];
    for (name, table) in tables {
        let table = format!("{table}\n\n{}, PostgreSQL {server}", report.machine);
        guide = replaced(&guide, name, &table)?;
    }
    fs::write(path, guide)?;
    Ok(())
}

fn replaced(guide: &str, name: &str, table: &str) -> Result<String> {
    let begin = format!("<!-- measured: {name} -->\n");
    let missing = || format!("docs/performance.md has no place for {name}");
    let (before, rest) = guide.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once("<!-- end -->").ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n{table}\n\n<!-- end -->{after}"))
}
