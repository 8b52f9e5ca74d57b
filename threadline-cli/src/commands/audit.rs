use chrono::Utc;
use diesel::connection::SimpleConnection;
use diesel::result::DatabaseErrorInformation;
use diesel::result::DatabaseErrorKind::{self, ClosedConnection, UnableToSendCommand};
use diesel::result::Error::{DatabaseError, RollbackTransaction};
use diesel::sql_types::{Array, Nullable, Text};
use diesel::{Connection as _, OptionalExtension, QueryableByName, RunQueryDsl};
use threadline::{Granularity, TableSpec};

use super::install::write_migration;
use crate::Result;
use crate::arguments::{Audit, Connection, Exempt, Migrations, Unaudit};
use crate::connection::Database;
use crate::output::say;
use crate::progress::Progress;

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
    let tables = if arguments.all {
        uncovered(connection, arguments.schema.as_deref())?
    } else {
        arguments.tables.clone()
    };
    let redaction = arguments.mask.iter().chain(&arguments.exclude);
    let redaction = redaction.chain(&arguments.hash_key);
    for column in redaction.chain(&arguments.unredact) {
        if !tables.iter().any(|table| of_table(column, table).is_some()) {
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
            .hash_key(columns(&arguments.hash_key))
            .unredact(columns(&arguments.unredact))
    };
    let specs: Vec<_> = tables.iter().map(spec).collect();
    let up: Vec<_> = specs.iter().map(TableSpec::up_sql).collect();
    if arguments.to.apply {
        let conn = &mut connection.establish()?;
        check(conn, &specs)?;
        apply_each(conn, &tables, &up)?;
        return say!("Done: audit {}", tables.join(", "));
    }
    let down: Vec<_> = specs.iter().rev().map(TableSpec::down_sql).collect();
    write_each(&arguments.to, "audit", &tables, &up, &down)
}

#[derive(QueryableByName)]
struct Uncovered {
    #[diesel(sql_type = Text)]
    name: String,
}

/// The tables that nobody has decided about, as in SQL.
fn uncovered(connection: &Connection, schema: Option<&str>) -> Result<Vec<String>> {
    let conn = &mut connection.establish()?;
    let query = "SELECT format('%I.%I', table_schema, table_name) AS name FROM threadline.coverage \
                 WHERE state = 'uncovered' AND table_schema = coalesce($1, table_schema) ORDER BY table_schema, table_name";
    let query = diesel::sql_query(query).bind::<Nullable<Text>, _>(schema);
    let tables: Vec<Uncovered> = query.load(conn)?;
    if tables.is_empty() {
        return Err("there is no table that is neither audited nor exempt".into());
    }
    Ok(tables.into_iter().map(|table| table.name).collect())
}

pub(crate) fn exempt(connection: &Connection, arguments: &Exempt) -> Result<()> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let call = |table: &String, function: &str, reason: &str| {
        format!("SELECT threadline.{function}({}{reason});", quoted(table))
    };
    let reason = format!(", {}", quoted(&arguments.reason));
    let mut up = Vec::new();
    let mut down = Vec::new();
    for table in &arguments.tables {
        up.push(call(table, "exempt_table", &reason));
        down.push(call(table, "unexempt_table", ""));
    }
    for column in &arguments.column {
        let (table, name) = column
            .rsplit_once('.')
            .ok_or_else(|| format!("{column}: write it as TABLE.COLUMN"))?;
        let (table, name) = (table.to_owned(), quoted(name));
        up.push(call(&table, "exempt_column", &format!(", {name}{reason}")));
        down.push(call(&table, "unexempt_column", &format!(", {name}")));
    }
    let exempted = [&arguments.tables[..], &arguments.column].concat();
    down.reverse();
    if !arguments.to.apply {
        let name = name("exempt", &exempted);
        return write_migration(&arguments.to, &name, &lines(&up), &lines(&down), None);
    }
    apply(&mut connection.establish()?, &up)?;
    say!("Done: exempt {}", exempted.join(", "))
}

/// A migration that locks one table at a time, where it is about several: writers of one would otherwise wait until the last is
/// done, and thousands of tables would take more locks than PostgreSQL has room for.
fn write_each(
    to: &Migrations,
    verb: &str,
    tables: &[String],
    up: &[String],
    down: &[String],
) -> Result<()> {
    let name = name(verb, tables);
    if tables.len() < 2 {
        return write_migration(to, &name, &lines(up), &lines(down), None);
    }
    let each = |statements: &[String]| {
        let each = statements.iter();
        let each: Vec<_> = each.map(|s| format!("BEGIN; {s} COMMIT;")).collect();
        lines(&each)
    };
    let metadata = Some("run_in_transaction = false\n");
    write_migration(to, &name, &each(up), &each(down), metadata)
}

/// Refuses all tables where one cannot be audited as asked. What is wrong with any of them is told at once.
fn check(conn: &mut Database, specs: &[TableSpec]) -> Result<()> {
    let mut refused = Vec::new();
    for spec in specs {
        let query = "SELECT threadline_internal.check_auditable(t, $2, $3, NULL, $5), \
                     threadline_internal.describe_capture(t, $2, $3, NULL, $4, threadline_internal.find_audited(t), $5) IS NULL \
                     FROM pg_catalog.to_regclass($1) AS t";
        let checked = diesel::sql_query(query)
            .bind::<Text, _>(spec.table_name())
            .bind::<Array<Text>, _>(spec.masked_columns())
            .bind::<Array<Text>, _>(spec.excluded_columns())
            .bind::<Array<Text>, _>(spec.unredacted_columns())
            .bind::<Array<Text>, _>(spec.hashed_columns())
            .execute(conn);
        match checked {
            Err(DatabaseError(kind, info)) => refused.push((kind, info)),
            checked => drop(checked?),
        }
    }
    told(refused, "so nothing was changed")
}

/// Runs each statement in a transaction of its own. What is done stays done, and what could not be done keeps nobody from the
/// others: run again, it goes on.
fn apply_each(conn: &mut Database, tables: &[String], statements: &[String]) -> Result<()> {
    let mut refused = Vec::new();
    let total = u64::try_from(tables.len())?;
    let mut progress = Progress::new("tables", || Ok(total))?;
    for (statement, done) in statements.iter().zip(1..) {
        match conn.batch_execute(statement) {
            Err(DatabaseError(kind, info))
                if !matches!(kind, ClosedConnection | UnableToSendCommand) =>
            {
                refused.push((kind, info));
            }
            applied => applied?,
        }
        progress.tell(done);
    }
    progress.end();
    told(refused, "and the others are done, so run it again")
}

/// All of it or nothing. What is wrong with any of the statements is told at once.
fn apply(conn: &mut Database, statements: &[String]) -> Result<()> {
    let mut refused = Vec::new();
    let done = conn.transaction(|conn| {
        for statement in statements {
            match conn.transaction(|conn| conn.batch_execute(statement)) {
                Ok(()) => {}
                Err(DatabaseError(kind, info)) => refused.push((kind, info)),
                Err(other) => return Err(other),
            }
        }
        if refused.is_empty() {
            Ok(())
        } else {
            Err(RollbackTransaction)
        }
    });
    if refused.is_empty() {
        done?;
    }
    told(refused, "so nothing was changed")
}

type Refused = (
    DatabaseErrorKind,
    Box<dyn DatabaseErrorInformation + Send + Sync>,
);

fn told(mut refused: Vec<Refused>, outcome: &str) -> Result<()> {
    match refused.len() {
        0 => Ok(()),
        1 => {
            let (kind, info) = refused.remove(0);
            Err(DatabaseError(kind, info).into())
        }
        count => {
            let told = refused.iter().map(|(_, info)| {
                let hint = info.hint().map(|hint| format!("\n    {hint}"));
                format!("\n  {}{}", info.message(), hint.unwrap_or_default())
            });
            let told: String = told.collect();
            Err(format!("{count} of them are refused, {outcome}:{told}").into())
        }
    }
}

#[derive(QueryableByName)]
struct Audited {
    #[diesel(sql_type = Array<Text>)]
    masked_columns: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    excluded_columns: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    hashed_columns: Vec<String>,
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
                     ARRAY(SELECT c.name FROM threadline_internal.columns_of(t.relation) AS c \
                        WHERE c.name = ANY (t.hashed_columns) ORDER BY c.name) AS hashed_columns, \
                     t.requested_granularity FROM threadline.audited_tables AS t \
                     WHERE t.relation = $1::regclass AND t.capture_ended_at IS NULL";
        let audited = diesel::sql_query(query).bind::<Text, _>(table);
        let audited: Option<Audited> = audited.get_result(conn).optional()?;
        let audited = audited.ok_or_else(|| format!("{table} is not audited"))?;
        let spec = TableSpec::named(table)
            .mask(audited.masked_columns)
            .exclude(audited.excluded_columns)
            .hash_key(audited.hashed_columns);
        specs.push(match audited.requested_granularity.as_deref() {
            Some("row") => spec.granularity(Granularity::Row),
            Some(_) => spec.granularity(Granularity::Statement),
            None => spec,
        });
    }
    let up: Vec<_> = specs.iter().map(TableSpec::down_sql).collect();
    if arguments.to.apply {
        apply_each(conn, &arguments.tables, &up)?;
        return say!("Done: unaudit {}", arguments.tables.join(", "));
    }
    let down: Vec<_> = specs.iter().rev().map(TableSpec::up_sql).collect();
    write_each(&arguments.to, "unaudit", &arguments.tables, &up, &down)
}

/// The column of a table that `TABLE.COLUMN` names, where one of them may have a schema that the other lacks.
fn of_table<'a>(column: &'a str, table: &str) -> Option<&'a str> {
    let of = |column: &'a str, table: &str| {
        let name = column.strip_prefix(table)?.strip_prefix('.')?;
        (!name.is_empty()).then_some(name)
    };
    of(column, table)
        .or_else(|| of(column, without_schema(table)?))
        .or_else(|| of(without_schema(column)?, table))
        .filter(|name| without_schema(name).is_none())
}

/// What follows the first name and its dot.
fn without_schema(path: &str) -> Option<&str> {
    let rest = match path.strip_prefix('"') {
        // A doubled quote stands for one in the name.
        Some(quoted) => &quoted[quoted.replace("\"\"", "  ").find('"')? + 1..],
        None => &path[path.find('.')?..],
    };
    rest.strip_prefix('.')
}

fn lines(statements: &[String]) -> String {
    let lines = statements.iter().map(|statement| format!("{statement}\n"));
    lines.collect()
}
