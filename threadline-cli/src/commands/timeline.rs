use diesel::RunQueryDsl;
use threadline::{ActorRef, ExportFormat, Timeline, TimelineCursor, TimelineEntry, timeline};

use crate::Result;
use crate::arguments::{Format, History, Page, Timeline as Arguments};
use crate::connection::{Database, wait};
use crate::output::{AtOnce, Table, exact, say, table};

pub(crate) fn run(conn: &mut Database, arguments: &Arguments) -> Result<()> {
    let page = &arguments.page;
    let timeline = arguments.filters.timeline(page.before.as_ref())?;
    print(conn, timeline, page, arguments.output.format)
}

pub(crate) fn history(conn: &mut Database, arguments: &History) -> Result<()> {
    let page = &arguments.page;
    let before = page.before.iter().map(|cursor| ("before", cursor));
    let timeline = timeline()
        .params(before)?
        .table_named(&arguments.table)
        .row_key(&arguments.key);
    print(conn, timeline, page, arguments.output.format)
}

fn print(conn: &mut Database, timeline: Timeline, page: &Page, format: Format) -> Result<()> {
    let format = match format {
        Format::Csv => ExportFormat::Csv,
        Format::Json => ExportFormat::Json,
        Format::Table => return print_table(conn, &timeline.limit(page.limit)),
    };
    let export = timeline.export(format).limit(page.limit.into());
    wait(export.write_to(&mut **conn, AtOnce(exact())))?;
    Ok(())
}

fn print_table(conn: &mut Database, timeline: &Timeline) -> Result<()> {
    let entries: Vec<TimelineEntry> = timeline.clone().load(conn)?;
    entries_table(&entries).print()?;
    if let Some(next) = next(conn, timeline, &entries)? {
        say!("\nThere are more: --before {}", next)?;
    }
    Ok(())
}

/// Where the next page begins, if there is one.
fn next(
    conn: &mut Database,
    timeline: &Timeline,
    entries: &[TimelineEntry],
) -> Result<Option<TimelineCursor>> {
    let Some(last) = entries.last().map(TimelineEntry::cursor) else {
        return Ok(None);
    };
    let following = timeline.clone().before(last).limit(1);
    let following: Vec<TimelineEntry> = following.load(conn)?;
    Ok((!following.is_empty()).then_some(last))
}

pub(crate) fn entries_table(entries: &[TimelineEntry]) -> Table {
    let mut table = table([
        "time",
        "table",
        "key",
        "op",
        "actor",
        "changes",
        "transaction",
    ]);
    for entry in entries {
        table.add_row([
            entry
                .captured_at
                .format("%Y-%m-%dT%H:%M:%S%.6fZ")
                .to_string(),
            format!("{}.{}", entry.table_schema, entry.table_name),
            entry.row_key.clone().unwrap_or_default(),
            entry.op.to_string(),
            who(entry.actor.as_ref(), entry.database_role.as_deref()),
            entry.diff.to_string(),
            entry.transaction_id.to_string(),
        ]);
    }
    table
}

/// Where nobody was named, the role that wrote.
pub(crate) fn who(actor: Option<&ActorRef>, role: Option<&str>) -> String {
    match (actor, role) {
        (Some(actor), _) => actor.to_string(),
        (None, Some(role)) => format!("(role {role})"),
        (None, None) => String::new(),
    }
}
