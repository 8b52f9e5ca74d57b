use std::collections::BTreeMap;
use std::io::Write;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use diesel::sql_types::{Array, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, RunQueryDsl};
use serde_json::Value;
use serde_json::value::RawValue;
use threadline::ExportFormat;

use crate::Result;
use crate::arguments::{AsOf, Format};
use crate::connection::Database;
use crate::output::{CsvCell, csv, exact, note, say, table};

/// What the table is called in SQL, and the columns of its key.
#[derive(QueryableByName)]
struct Relation {
    #[diesel(sql_type = Text)]
    name: String,
    /// The function that reads its rows column by column.
    #[diesel(sql_type = Text)]
    row_of: String,
    #[diesel(sql_type = Integer)]
    key_columns: i32,
    #[diesel(sql_type = Array<Text>)]
    columns: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    images: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    excluded: Vec<String>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Timestamptz)]
    since: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Text>)]
    image: Option<String>,
    #[diesel(sql_type = Array<Text>)]
    not_recorded: Vec<String>,
}

pub(crate) fn run(conn: &mut Database, arguments: &AsOf) -> Result<()> {
    let at = time(&arguments.time)?;
    // The values as images have them. One that is not recorded is an error where it is read, and so is not read.
    let relation = "SELECT t.relation::text AS name, 'threadline_internal.row_of_' || t.id AS row_of, cardinality(t.key_columns) AS key_columns, t.excluded_columns AS excluded,
             ARRAY(SELECT c.name FROM threadline_internal.columns_of(t.relation) AS c
                    WHERE c.name <> ALL (t.excluded_columns) ORDER BY c.number) AS columns,
             ARRAY(SELECT format('%s AS %I', i.image, c.name)
                     FROM threadline_internal.columns_of(t.relation) AS c
                    CROSS JOIN LATERAL threadline_internal.column_image(format('t.%I', c.name), c.name = ANY (x.columns)) AS i (image)
                    WHERE c.name <> ALL (t.excluded_columns) ORDER BY c.number) AS images
        FROM threadline.audited_tables AS t CROSS JOIN threadline_internal.text_columns(t.relation) AS x (columns)
       WHERE t.relation = $1::regclass";
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
    let Relation { name, row_of, .. } = relation;
    let image_of =
        "coalesce(threadline_internal.columns_not_recorded(r.image), '{}') AS not_recorded";
    let query = format!(
        "SELECT r.state, r.since, NULL AS image, {image_of} FROM threadline.row_as_of(NULL::{name}, $1{key}) AS r"
    );
    let mut row: Row = diesel::sql_query(query)
        .bind::<Timestamptz, _>(at)
        .get_result(conn)?;
    if row.state == "found" {
        let images = relation.columns.iter().zip(&relation.images);
        let images: Vec<_> = images
            .filter(|(column, _)| !row.not_recorded.contains(column))
            .map(|(_, image)| image.as_str())
            .collect();
        let images = images.join(", ");
        let query = format!(
            "SELECT r.state, r.since, i.image, {image_of} FROM threadline.row_as_of(NULL::{name}, $1{key}) AS r
               LEFT JOIN LATERAL (SELECT (SELECT to_json(i.*)::text FROM (SELECT {images}) AS i) AS image
                                    FROM {row_of}(NULL::{name}, r.image, r.image_of{key}) AS t) AS i
                 ON r.state = 'found'"
        );
        row = diesel::sql_query(query)
            .bind::<Timestamptz, _>(at)
            .get_result(conn)?;
    }
    if row.image.is_some() {
        row.not_recorded.extend_from_slice(&relation.excluded);
        row.not_recorded.sort_unstable();
        row.not_recorded.dedup();
    }
    print(&row, arguments.output.format)
}

fn print(row: &Row, format: Format) -> Result<()> {
    match format {
        Format::Json => {
            let since = serde_json::to_string(&row.since.to_rfc3339())?;
            let image = row.image.as_deref().unwrap_or("null");
            let not_recorded = match row.not_recorded.as_slice() {
                [] => String::new(),
                columns => format!(r#","not_recorded":{}"#, serde_json::to_string(columns)?),
            };
            writeln!(
                exact(),
                r#"{{"state":"{}","since":{since},"row":{}{}}}"#,
                row.state,
                ExportFormat::visible_json(image),
                ExportFormat::visible_json(&not_recorded)
            )?;
            Ok(())
        }
        Format::Csv => {
            let columns = columns(row)?;
            let cells = columns.iter().map(|(column, value)| {
                let value = value.as_ref().map_or_else(
                    || CsvCell::Text(NOT_RECORDED.into()),
                    |value| CsvCell::Json(value.get().into()),
                );
                [CsvCell::Text(column.into()), value]
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
                table.add_row([&*column, value.as_ref().map_or(NOT_RECORDED, |v| v.get())]);
            }
            table.print()
        }
    }
}

/// What stands for a value that the audit log does not have.
const NOT_RECORDED: &str = "(not recorded)";

/// The values as JSON, with all digits of numbers; none without a row.
fn columns(row: &Row) -> Result<BTreeMap<String, Option<Box<RawValue>>>> {
    let Some(image) = &row.image else {
        return Ok(BTreeMap::new());
    };
    let recorded: BTreeMap<String, Box<RawValue>> = serde_json::from_str(image)?;
    let mut columns: BTreeMap<_, _> = recorded.into_iter().map(|(c, v)| (c, Some(v))).collect();
    columns.extend(row.not_recorded.iter().map(|column| (column.clone(), None)));
    Ok(columns)
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
