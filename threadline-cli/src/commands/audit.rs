use chrono::Utc;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{Array, Nullable, Text};
use diesel::{OptionalExtension, QueryableByName, RunQueryDsl};
use threadline::{Granularity, TableSpec};

use super::install::write_migration;
use crate::Result;
use crate::arguments::{Audit, Connection, Exempt, Migrations, Unaudit};
use crate::output::say;

/// As `diesel migration generate` would call it now.
fn name(verb: &str, tables: &[String]) -> String {
    let is_word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    let tables: String = tables.join("_").chars().map(is_word).take(60).collect();
    format!("{}_{verb}_{tables}", Utc::now().format("%Y-%m-%d-%H%M%S"))
}

pub(crate) fn audit(connection: &Connection, arguments: &Audit) -> Result<()> {
    let redaction = arguments.mask.iter().chain(&arguments.exclude);
    for column in redaction.chain(&arguments.unredact) {
        if !arguments
            .tables
            .iter()
            .any(|table| of_table(column, table).is_some())
        {
            let message = format!(
                "{column}: write it as TABLE.COLUMN, with one of the tables that are to be audited"
            );
            return Err(message.into());
        }
    }
    let spec = |table: &String| {
        let columns = |all: &[String]| -> Vec<String> {
            let columns = all.iter().filter_map(|column| of_table(column, table));
            columns.map(ToOwned::to_owned).collect()
        };
        TableSpec::named(table)
            .mask(columns(&arguments.mask))
            .exclude(columns(&arguments.exclude))
            .unredact(columns(&arguments.unredact))
    };
    let specs: Vec<_> = arguments.tables.iter().map(spec).collect();
    let up = lines(specs.iter().map(TableSpec::up_sql));
    let down = lines(specs.iter().rev().map(TableSpec::down_sql));
    write_or_apply(
        connection,
        &arguments.to,
        "audit",
        &arguments.tables,
        &up,
        &down,
    )
}

pub(crate) fn exempt(connection: &Connection, arguments: &Exempt) -> Result<()> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let call = |table: &String, function: &str, reason: &str| {
        format!("SELECT threadline.{function}({}{reason});", quoted(table))
    };
    let reason = format!(", {}", quoted(&arguments.reason));
    let tables = &arguments.tables;
    let up = lines(
        tables
            .iter()
            .map(|table| call(table, "exempt_table", &reason)),
    );
    let down = lines(
        tables
            .iter()
            .rev()
            .map(|table| call(table, "unexempt_table", "")),
    );
    write_or_apply(connection, &arguments.to, "exempt", tables, &up, &down)
}

fn write_or_apply(
    connection: &Connection,
    to: &Migrations,
    verb: &str,
    tables: &[String],
    up: &str,
    down: &str,
) -> Result<()> {
    if !to.apply {
        return write_migration(to, &name(verb, tables), up, down);
    }
    // One implicit transaction: all of it or nothing.
    connection.establish()?.batch_execute(up)?;
    say!("Done: {} {}", verb, tables.join(", "))
}

#[derive(QueryableByName)]
struct Audited {
    #[diesel(sql_type = Array<Text>)]
    masked_columns: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    excluded_columns: Vec<String>,
    #[diesel(sql_type = Nullable<Text>)]
    requested_granularity: Option<String>,
}

/// Whoever reverts it has to get the masks and exclusions back, so the database is asked for them.
pub(crate) fn unaudit(connection: &Connection, arguments: &Unaudit) -> Result<()> {
    let conn = &mut connection.establish()?;
    let mut specs = Vec::new();
    for table in &arguments.tables {
        // A redacted column may be gone; the audit log remembers it.
        let query = "SELECT ARRAY(SELECT c.name FROM threadline_internal.columns_of(t.relation) AS c \
                        WHERE c.name = ANY (t.masked_columns) ORDER BY c.name) AS masked_columns, \
                     ARRAY(SELECT c.name FROM threadline_internal.columns_of(t.relation) AS c \
                        WHERE c.name = ANY (t.excluded_columns) ORDER BY c.name) AS excluded_columns, \
                     t.requested_granularity FROM threadline.audited_tables AS t \
                     WHERE t.relation = $1::regclass AND t.capture_ended_at IS NULL";
        let audited = diesel::sql_query(query).bind::<Text, _>(table);
        let audited: Option<Audited> = audited.get_result(conn).optional()?;
        let audited = audited.ok_or_else(|| format!("{table} is not audited"))?;
        let spec = TableSpec::named(table)
            .mask(audited.masked_columns)
            .exclude(audited.excluded_columns);
        specs.push(match audited.requested_granularity.as_deref() {
            Some("row") => spec.granularity(Granularity::Row),
            Some(_) => spec.granularity(Granularity::Statement),
            None => spec,
        });
    }
    let up = lines(specs.iter().map(TableSpec::down_sql));
    let down = lines(specs.iter().rev().map(TableSpec::up_sql));
    write_or_apply(
        connection,
        &arguments.to,
        "unaudit",
        &arguments.tables,
        &up,
        &down,
    )
}

fn of_table<'a>(column: &'a str, table: &str) -> Option<&'a str> {
    column
        .strip_prefix(table)?
        .strip_prefix('.')
        .filter(|column| !column.is_empty())
}

fn lines(statements: impl Iterator<Item = String>) -> String {
    statements.map(|statement| statement + "\n").collect()
}
