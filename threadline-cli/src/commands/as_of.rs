use std::collections::BTreeMap;
use std::io::Write;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use diesel::sql_types::{Integer, Nullable, Text, Timestamptz};
use diesel::{PgConnection, QueryableByName, RunQueryDsl};
use serde_json::Value;
use serde_json::value::RawValue;
use threadline::ExportFormat;

use crate::Result;
use crate::arguments::{AsOf, Format};
use crate::output::{CsvCell, csv, exact, note, say, table};

/// What the table is called in SQL, and the columns of its key.
#[derive(QueryableByName)]
struct Relation {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Integer)]
    key_columns: i32,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Timestamptz)]
    since: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Text>)]
    image: Option<String>,
}

pub(crate) fn run(conn: &mut PgConnection, arguments: &AsOf) -> Result<()> {
    let at = time(&arguments.time)?;
    let relation = "SELECT relation::text AS name, cardinality(key_columns) AS key_columns FROM threadline.audited_tables WHERE relation = $1::regclass";
    let relation = diesel::sql_query(relation).bind::<Text, _>(&arguments.table);
    let relations: Vec<Relation> = relation.load(conn)?;
    let relation = relations
        .first()
        .ok_or_else(|| format!("{} is not audited", arguments.table))?;
    let key = key(&arguments.key, relation.key_columns)?;
    // Literals of no type take that of the key.
    let key: String = key
        .iter()
        .flat_map(|part| [", ".to_owned(), literal(part)])
        .collect();
    let name = &relation.name;
    let query = format!(
        "SELECT r.state, r.since, t.image FROM threadline.row_as_of(NULL::{name}, $1{key}) AS r
           LEFT JOIN LATERAL (SELECT to_json(t.*)::text AS image FROM threadline.row_of(NULL::{name}, r.image, r.image_of{key}) AS t) AS t
             ON r.state = 'found'"
    );
    let row: Row = diesel::sql_query(query)
        .bind::<Timestamptz, _>(at)
        .get_result(conn)?;
    print(&row, arguments.output.format)
}

fn print(row: &Row, format: Format) -> Result<()> {
    match format {
        Format::Json => {
            let since = serde_json::to_string(&row.since.to_rfc3339())?;
            let image = row.image.as_deref().unwrap_or("null");
            writeln!(
                exact(),
                r#"{{"state":"{}","since":{since},"row":{}}}"#,
                row.state,
                ExportFormat::visible_json(image)
            )?;
            Ok(())
        }
        Format::Csv => {
            let columns = columns(row)?;
            let cells = columns.iter().map(|(column, value)| {
                [
                    CsvCell::Text(column.into()),
                    CsvCell::Json(value.get().into()),
                ]
            });
            csv(["column", "value"], cells)?;
            if row.image.is_none() {
                note!("{}", told(row));
            }
            Ok(())
        }
        Format::Table if row.image.is_none() => say!("{}", told(row)),
        Format::Table => {
            let mut table = table(["column", "value"]);
            for (column, value) in columns(row)? {
                table.add_row([&*column, value.get()]);
            }
            table.print()
        }
    }
}

/// The values as JSON, with all digits of numbers; none without a row.
fn columns(row: &Row) -> Result<BTreeMap<String, Box<RawValue>>> {
    let image = row.image.as_deref();
    Ok(image.map_or_else(|| Ok(BTreeMap::new()), serde_json::from_str)?)
}

fn told(row: &Row) -> String {
    match row.state.as_str() {
        "deleted" => "It had been deleted.".to_owned(),
        "not_yet" => "It was not there yet.".to_owned(),
        _ => format!("Nothing is known before {}.", row.since.to_rfc3339()),
    }
}

fn time(text: &str) -> Result<DateTime<Utc>> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(NaiveTime::MIN).and_utc());
    }
    let time = DateTime::parse_from_rfc3339(text);
    let time = time
        .map_err(|_| format!("{text:?} is no time: write 2026-11-24T09:30:00Z, or 2026-11-24"))?;
    Ok(time.to_utc())
}

/// One part for each column of the key.
fn key(text: &str, columns: i32) -> Result<Vec<String>> {
    if columns == 1 {
        return Ok(vec![text.to_owned()]);
    }
    let parts: Vec<Value> = serde_json::from_str(text)
        .map_err(|_| format!("{text:?} is no JSON array of {columns} columns"))?;
    if i32::try_from(parts.len()) != Ok(columns) {
        return Err(format!("the key has {columns} columns, and not {}", parts.len()).into());
    }
    let text = |part: Value| match part {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(parts.into_iter().map(text).collect())
}

/// Right whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    let quoted = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{quoted}'")
}
