use std::fs;
use std::path::Path;

use threadline_benches::{Result, Target};

use crate::report::Report;
use crate::request;

/// The major version that the pages are about. Of another one, they have only what has a place for it.
const USUAL: &str = "15";

/// Writes each table between the comments that name it: `<!-- measured: tpcb -->`, or `<!-- measured: tpcb, PostgreSQL 18 -->`.
/// Targets are in CONTRIBUTING.md, all else in docs/performance.md.
pub(crate) fn write(report: &Report, targets: &[(&str, Vec<Target>)]) -> Result<()> {
    let version = report.server["server_version"].as_str();
    let write = |page: &str, name: &str, text: String| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
        let measured = format!("{text}\n\n{}, PostgreSQL {version}", report.machine);
        let page = put(&fs::read_to_string(&path)?, name, version, &measured)
            .map_err(|missing| format!("{page}: {missing}"))?;
        Result::Ok(fs::write(path, page)?)
    };
    for (name, targets) in targets {
        let table = Target::table(targets).to_string();
        write("CONTRIBUTING.md", &format!("targets of {name}"), table)?;
    }
    let sections = report.sections().into_iter();
    let tables = sections.map(|s| (s.name, s.table.to_string()));
    let request =
        request::picture(&report.rows).map(|bars| ("request", format!("```text\n{bars}\n```")));
    let tpcb = report.tpcb.iter().map(|t| ("tpcb", t.to_string()));
    let timeline = report
        .timeline
        .iter()
        .map(|r| ("timeline", r.table().to_string()));
    let time_travel = report
        .time_travel
        .iter()
        .map(|r| ("time-travel", r.table().to_string()));
    for (name, text) in tables
        .chain(request)
        .chain(tpcb)
        .chain(timeline)
        .chain(time_travel)
    {
        write("docs/performance.md", name, text)?;
    }
    Ok(())
}

/// The page with what was measured in its place.
fn put(
    page: &str,
    name: &str,
    version: &str,
    measured: &str,
) -> std::result::Result<String, String> {
    let major = version.split('.').next().unwrap_or_default();
    let begin = if major == USUAL {
        format!("<!-- measured: {name} -->\n")
    } else {
        format!("<!-- measured: {name}, PostgreSQL {major} -->\n")
    };
    let missing = || format!("no place for {name}");
    match page.split_once(&begin) {
        Some((before, rest)) => {
            let (_, after) = rest.split_once("<!-- end -->").ok_or_else(missing)?;
            Ok(format!(
                "{before}{begin}\n{measured}\n\n<!-- end -->{after}"
            ))
        }
        None if major == USUAL => Err(missing()),
        None => Ok(page.to_owned()),
    }
}
