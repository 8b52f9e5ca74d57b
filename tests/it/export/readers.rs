//! What others read out of our files is what the database has.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use threadline::{ExportFormat, timeline};
use threadline_test_support::needs;

use super::{audited, exported, lines};
use crate::common::{run, text};

/// What `program` says to `input`.
pub(super) fn said(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("the tests need {program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

const PYTHON: &str = "
import csv, io, json, sys
text = sys.stdin.buffer.read().decode('utf-8')
rows = list(csv.DictReader(io.StringIO(text, newline=''), strict=True))
json.dump(rows, sys.stdout)
";

const JSON_COLUMNS: [&str; 8] = [
    "table_pk",
    "data_after",
    "changed_fields",
    "changed_from",
    "transaction_json",
    "row_key",
    "moved_key",
    "actions_json",
];

/// The rows of a CSV as Python reads them, what is JSON in them read too.
fn csv_rows(csv: &str) -> Vec<Value> {
    let rows: Value = serde_json::from_str(&said("python3", &["-c", PYTHON], csv)).unwrap();
    let Value::Array(mut rows) = rows else {
        panic!("{rows}");
    };
    for row in &mut rows {
        for column in JSON_COLUMNS {
            let cell = row[column].as_str().unwrap();
            row[column] = match cell {
                "" => Value::Null,
                json => {
                    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
                }
            };
        }
    }
    rows
}

/// The ids of the changes in an export, in its order.
pub(crate) fn ids(format: ExportFormat, text: &str) -> Vec<i64> {
    let id = |change: &Value| change["id"].as_str().unwrap().parse().unwrap();
    match format {
        ExportFormat::Csv => {
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let records = reader
                .records()
                .map(|record| record.unwrap()[0].parse().unwrap());
            records.collect()
        }
        ExportFormat::Json => {
            let document: Value = serde_json::from_str(text).unwrap();
            document["changes"]
                .as_array()
                .unwrap()
                .iter()
                .map(id)
                .collect()
        }
        _ => text
            .lines()
            .map(|line| id(&serde_json::from_str(line).unwrap()))
            .collect(),
    }
}

/// Rows that are hard to write: quotes, commas, line ends, formulas, other scripts, control characters.
const HOSTILE: &str = r#"
    INSERT INTO users (id, name) VALUES (1, 'a,b"c"'), (2, E'line\nline\r\nend\r'), (3, '=1+1'), (4, '@SUM(A1)'), (5, E'\t-2'), (6, ''),
      (7, 'ÄÖ 漢字 🧵 ' || chr(8232) || chr(1)), (8, NULL), (9, ';=cmd|''/c calc''!A1;'), (10, '\u003b \n " '' \\'), (11, repeat('x', 70000));
    UPDATE users SET balance = 123456789012345678901234567890.12345678901234567890 WHERE id = 1;
    UPDATE users SET balance = 'NaN' WHERE id = 2; DELETE FROM users WHERE id = 3;
    INSERT INTO pairs VALUES (-1, '=1,"x'''), (2, E';\n'); INSERT INTO notes VALUES ('{"a": [1, {"b;": "c"}], "k\"": null}')"#;

/// What jq is to show of a change.
const MEMBERS: &str = "[.id, .transaction_id, .table_schema, .table_name, .op, .captured_at, (.data_after // {}), .changed_fields, .changed_from, .row_key, \
                           .transaction.database_role]";

/// Python's csv module and jq read what the database has, row by row, however hard it is to write.
#[needs(jq, python3)]
#[test]
fn hostile_values() {
    let (_database, mut conn) = audited();
    run(&mut conn, "SET standard_conforming_strings = on");
    run(&mut conn, HOSTILE);
    let in_database = text(
        &mut conn,
        "SELECT jsonb_agg(jsonb_build_array(c.id::text, c.transaction_id, c.table_schema, c.table_name, c.op,
                  to_char(c.captured_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), coalesce(c.data_after, '{}'), to_jsonb(c.changed_fields),
                  coalesce(c.changed_from, '{}'), to_jsonb(c.row_key), c.database_role) ORDER BY c.captured_at DESC, c.id DESC)
           FROM threadline.changes AS c",
    )
    .unwrap();
    let in_database: Value = serde_json::from_str(&in_database).unwrap();

    let (_, csv) = exported(&mut conn, timeline(), ExportFormat::Csv);
    let rows = csv_rows(&csv).into_iter().map(|row| {
        json!([
            row["id"],
            row["transaction_id"],
            row["table_schema"],
            row["table_name"],
            row["op"],
            row["captured_at"],
            row["data_after"],
            row["changed_fields"],
            row["changed_from"],
            row["row_key"],
            row["transaction_json"]["database_role"]
        ])
    });
    assert_eq!(rows.collect::<Value>(), in_database);

    for (format, program) in [
        (ExportFormat::Json, format!("[.changes[] | {MEMBERS}]")),
        (ExportFormat::Ndjson, format!("[.[] | {MEMBERS}]")),
    ] {
        let (_, text) = exported(&mut conn, timeline(), format);
        let mut arguments = vec!["-c", &program];
        if format == ExportFormat::Ndjson {
            arguments.push("-s");
        }
        let read: Value = serde_json::from_str(&said("jq", &arguments, &text)).unwrap();
        assert_eq!(read, in_database);
    }
}

/// Numbers have all their digits, which readers of JSON by floating point would lose on the way.
#[test]
fn exact_numbers() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO users (id, balance) VALUES (1, 123456789012345678901234567890.12345678901234567890)",
    );
    for format in super::FORMATS {
        let (_, text) = exported(&mut conn, timeline(), format);
        assert!(
            text.contains(" 123456789012345678901234567890.12345678901234567890"),
            "{text}"
        );
    }
}

/// JSON deeper than most parsers go is written as it is.
#[test]
fn deep_json() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        "INSERT INTO notes SELECT (repeat('[', 1000) || repeat(']', 1000))::jsonb",
    );
    for format in super::FORMATS {
        let (_, text) = exported(&mut conn, timeline(), format);
        assert!(text.contains(&"[".repeat(1000)));
    }
}

/// No cell is a formula, not even where a spreadsheet splits at semicolons; and what a cell was can be told.
#[needs(python3)]
#[test]
fn no_formulas() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        r#"CREATE TABLE "=1+1;x" (id text PRIMARY KEY); CREATE TABLE "'quoted" (id text PRIMARY KEY);
           SELECT threadline.audit_table('"=1+1;x"'), threadline.audit_table('"''quoted"');
           INSERT INTO "=1+1;x" VALUES ('=1'), ('-1'), (';=1'); INSERT INTO "'quoted" VALUES ('@x'), (E'a\n=1')"#,
    );
    run(&mut conn, HOSTILE);
    let (_, csv) = exported(&mut conn, timeline(), ExportFormat::Csv);
    for delimiter in [b',', b';', b'\t'] {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(csv.as_bytes());
        for record in reader.records() {
            for cell in &record.unwrap() {
                let begins = cell.trim_start().chars().next();
                assert!(
                    !begins.is_some_and(|c| "=+-@\t\r＝＋－＠".contains(c)),
                    "{delimiter}: {cell}"
                );
            }
        }
    }
    let rows = csv_rows(&csv);
    let name = |n: usize| rows[rows.len() - 1 - n]["table_name"].as_str().unwrap();
    assert_eq!((name(0), name(3)), ("'=1+1;x", "''quoted"));
    // In JSON, a table is called what it is called.
    assert_eq!(
        lines(&mut conn, timeline()).last().unwrap()["table_name"],
        "=1+1;x"
    );
}
