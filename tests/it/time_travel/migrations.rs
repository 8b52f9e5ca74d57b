//! The past through all the migrations of an application: `application.sql`, with random writes between them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;
use std::{env, thread};

use diesel::connection::{BoxableConnection, SimpleConnection};
use diesel::migration::{
    Migration, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion,
};
use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::sql_types::{Jsonb, Nullable};
use diesel_migrations::MigrationHarness;
use serde_json::{Value, json};
use threadline_test_support::Database;

use crate::common::{few_cases, text};
use crate::random::Random;

const SEED: &str = "MIGRATIONS_SEED";

/// When the audited tables are refreshed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// In the transaction of each migration.
    Within,
    /// In a transaction of its own after each, with writes before it.
    After,
    /// After every fourth one.
    Rarely,
}

#[derive(Debug, Clone)]
struct Step {
    number: usize,
    name: &'static str,
    sql: &'static str,
    alone: bool,
    converts: Vec<Conversion>,
    declares: Vec<Conversion>,
    unrecorded: Vec<&'static str>,
    anew: Vec<&'static str>,
}

#[derive(Debug, Clone)]
struct Conversion {
    table: &'static str,
    column: &'static str,
    sql: &'static str,
}

fn conversion(text: &'static str) -> Conversion {
    let (column, sql) = text.split_once(": ").expect("TABLE.COLUMN: SQL");
    let (table, column) = column.rsplit_once('.').expect("TABLE.COLUMN");
    Conversion { table, column, sql }
}

fn steps() -> Vec<Step> {
    let sections = include_str!("application.sql").split("\n--- ").skip(1);
    let step = |(number, section): (usize, &'static str)| {
        let (name, sql) = section.split_once('\n').expect("a name and its SQL");
        let said = |word: &str| -> Vec<&'static str> {
            let notes = sql.lines().filter_map(|line| line.strip_prefix("-- "));
            notes
                .filter_map(|note| note.strip_prefix(word).map(str::trim))
                .collect()
        };
        Step {
            number,
            name,
            sql,
            alone: !said("alone").is_empty(),
            converts: said("converts ").into_iter().map(conversion).collect(),
            declares: said("declares ").into_iter().map(conversion).collect(),
            unrecorded: said("unrecorded "),
            anew: said("anew "),
        }
    };
    sections.enumerate().map(step).collect()
}

impl MigrationSource<Pg> for Step {
    fn migrations(&self) -> diesel::migration::Result<Vec<Box<dyn Migration<Pg>>>> {
        Ok(vec![Box::new(self.clone())])
    }
}

impl Migration<Pg> for Step {
    fn run(&self, conn: &mut dyn BoxableConnection<Pg>) -> diesel::migration::Result<()> {
        Ok(conn.batch_execute(self.sql)?)
    }

    fn revert(&self, _: &mut dyn BoxableConnection<Pg>) -> diesel::migration::Result<()> {
        unimplemented!()
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        self
    }

    fn name(&self) -> &dyn MigrationName {
        self
    }
}

impl MigrationMetadata for Step {
    fn run_in_transaction(&self) -> bool {
        !self.alone
    }
}

impl MigrationName for Step {
    fn version(&self) -> MigrationVersion<'_> {
        MigrationVersion::from(&format!("{:04}", self.number)).as_owned()
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}_{}", self.number, self.name)
    }
}

impl Random {
    fn literal(&mut self, column: &Column) -> String {
        if let Some(labels) = &column.labels {
            let labels: Vec<_> = labels.keys().collect();
            return format!("'{}'", self.of(&labels));
        }
        let n = self.below(40);
        match column.kind.as_str() {
            "smallint" | "integer" | "bigint" => n.to_string(),
            "numeric" | "numeric(10,2)" => format!("{n}.5"),
            "boolean" => n.is_multiple_of(2).to_string(),
            "date" => format!("'2026-0{}-0{}'", n % 3 + 1, n % 4 + 1),
            "uuid" => format!("'00000000-0000-0000-0000-0000000000{n:02}'"),
            "jsonb" => format!(r#"'{{"n": {n}, "list": [1, "é"]}}'"#),
            "text[]" => format!(r#"'{{a,"b {n}"}}'"#),
            kind if kind.starts_with("timestamp") => {
                format!("'2026-01-{:02} 12:{:02}:00.5'", n % 28 + 1, n)
            }
            kind if kind.contains("char") || kind == "text" || kind == "email_address" => {
                format!("'it''s {n}'")
            }
            kind => panic!("no values of type {kind}"),
        }
    }
}

#[derive(Debug, Clone, serde::Deserialize)]
struct Table {
    oid: u32,
    name: String,
    is_audited: bool,
    is_partition: bool,
    key: Vec<String>,
    columns: Vec<Column>,
}

#[derive(Debug, Clone, serde::Deserialize)]
struct Column {
    number: i16,
    name: String,
    kind: String,
    not_null: bool,
    has_default: bool,
    is_generated: bool,
    labels: Option<BTreeMap<String, u32>>,
}

impl Table {
    /// A table that became a partition is read as a part of the other one.
    fn is_read(&self) -> bool {
        self.is_audited && !self.is_partition
    }
}

const TABLES: &str = r"
    SELECT coalesce(jsonb_agg(jsonb_build_object('oid', c.oid::bigint, 'name', format('%I.%I', n.nspname, c.relname),
      'is_audited', EXISTS (SELECT FROM threadline.audited_tables AS t
                             WHERE t.relation = c.oid AND t.capture_ended_at IS NULL),
      'is_partition', c.relispartition,
      'key', ARRAY(SELECT a.attname FROM pg_index AS i, unnest(i.indkey) WITH ORDINALITY AS k (number, place), pg_attribute AS a
                    WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid AND a.attnum = k.number ORDER BY k.place),
      'columns', (SELECT jsonb_agg(jsonb_build_object('number', a.attnum, 'name', a.attname,
                    'kind', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull, 'has_default', a.atthasdef,
                    'is_generated', a.attgenerated <> '', 'labels', (SELECT jsonb_object_agg(e.enumlabel, e.oid::bigint)
                       FROM pg_enum AS e WHERE e.enumtypid = a.atttypid)) ORDER BY a.attnum)
                    FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
      ORDER BY n.nspname, c.relname), '[]') AS value
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('public', 'registry') AND c.relkind IN ('r', 'p') AND c.relname <> '__diesel_schema_migrations'";

#[derive(QueryableByName)]
struct Json {
    #[diesel(sql_type = Nullable<Jsonb>)]
    value: Option<Value>,
}

/// One JSON value, or the message of the error.
fn json(conn: &mut PgConnection, sql: &str) -> Result<Value, String> {
    let rows: Vec<Json> = diesel::sql_query(sql)
        .load(conn)
        .map_err(|error| error.to_string())?;
    Ok(rows
        .into_iter()
        .next()
        .and_then(|row| row.value)
        .unwrap_or_default())
}

fn tables(conn: &mut PgConnection) -> Vec<Table> {
    serde_json::from_value(json(conn, TABLES).unwrap()).unwrap()
}

fn quoted(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    names.join(", ")
}

/// A table as it was, in terms of today: what migrations made of its values is made of these, too.
struct Copy {
    at: String,
    step: &'static str,
    relation: u32,
    /// What it is called today, or was last.
    name: String,
    columns: Vec<Copied>,
    rows: usize,
    /// Migrations since that may have, and that must have, begun its history anew.
    may_be_anew: bool,
    must_be_anew: bool,
}

struct Copied {
    number: i16,
    name: String,
    kind: String,
    labels: Option<BTreeMap<String, u32>>,
    /// How many migrations since have converted it, and not said how.
    conversions: usize,
    values: Vec<Value>,
}

struct World {
    way: Way,
    audited: PgConnection,
    twin: PgConnection,
    random: Random,
    copies: Vec<Copy>,
    /// Columns that were converted, and tables whose history may begin anew, at the next refresh.
    unsettled_columns: Vec<(u32, i16)>,
    unsettled_tables: Vec<u32>,
    failures: Vec<String>,
    right: usize,
    unknown: usize,
    before_history: usize,
}

impl World {
    fn write(&mut self) {
        let tables = tables(&mut self.twin);
        if tables.is_empty() {
            return;
        }
        for _ in 0..9 {
            let table = self.random.of(&tables).clone();
            let sql = self.statement(&table);
            let expected = self
                .twin
                .batch_execute(&sql)
                .map_err(|error| error.to_string());
            let found = self
                .audited
                .batch_execute(&sql)
                .map_err(|error| error.to_string());
            if expected.is_ok() != found.is_ok() {
                self.failures
                    .push(format!("{sql}\n  gives {found:?} and not {expected:?}"));
            }
        }
    }

    fn statement(&mut self, table: &Table) -> String {
        let Table { name, key, .. } = table;
        let written: Vec<_> = table
            .columns
            .iter()
            .filter(|column| !column.is_generated)
            .collect();
        let n = self.random.below(14);
        let row = if key.is_empty() {
            format!("ctid = (SELECT ctid FROM {name} AS t ORDER BY t::text LIMIT 1 OFFSET {n})")
        } else {
            let key = quoted(key);
            format!("({key}) = (SELECT {key} FROM {name} ORDER BY {key} LIMIT 1 OFFSET {n})")
        };
        let what = self.random.below(100);
        if what < 12 {
            return format!("DELETE FROM {name} WHERE {row}");
        } else if what < 50 {
            let column = *self.random.of(&written);
            let value = self.value(column);
            let all = what < 14;
            let condition = if all { "true" } else { &row };
            return format!(
                "UPDATE {name} SET \"{}\" = {value} WHERE {condition}",
                column.name
            );
        }
        let mut columns = Vec::new();
        let mut values = Vec::new();
        for column in &written {
            if !column.has_default || key.contains(&column.name) || self.random.below(2) == 0 {
                columns.push(column.name.clone());
                values.push(self.value(column));
            }
        }
        let mut sql = format!(
            "INSERT INTO {name} ({}) VALUES ({})",
            quoted(&columns),
            values.join(", ")
        );
        if !key.is_empty() && self.random.below(2) == 0 {
            let column = self.random.of(&columns);
            let _ = write!(
                sql,
                " ON CONFLICT ({}) DO UPDATE SET \"{column}\" = EXCLUDED.\"{column}\"",
                quoted(key)
            );
        }
        sql
    }

    fn value(&mut self, column: &Column) -> String {
        if !column.not_null && self.random.below(6) == 0 {
            return "NULL".to_owned();
        }
        self.random.literal(column)
    }

    fn copy(&mut self, step: &'static str) {
        for table in tables(&mut self.audited) {
            if !table.is_audited {
                continue;
            }
            let lists: Vec<_> = table
                .columns
                .iter()
                .map(|column| format!("coalesce(jsonb_agg(t.\"{}\"), '[]')", column.name))
                .collect();
            let values = json(
                &mut self.audited,
                &format!(
                    "SELECT jsonb_build_array({}) AS value FROM {} AS t",
                    lists.join(", "),
                    table.name
                ),
            );
            let values: Vec<Vec<Value>> = serde_json::from_value(values.unwrap()).unwrap();
            self.copies.push(Copy {
                at: String::new(),
                step,
                relation: table.oid,
                name: table.name,
                rows: values.first().map_or(0, Vec::len),
                columns: table
                    .columns
                    .into_iter()
                    .zip(values)
                    .map(|(column, values)| Copied {
                        number: column.number,
                        name: column.name,
                        kind: column.kind,
                        labels: column.labels,
                        conversions: self
                            .unsettled_columns
                            .iter()
                            .filter(|unsettled| **unsettled == (table.oid, column.number))
                            .count(),
                        values,
                    })
                    .collect(),
                may_be_anew: self.unsettled_tables.contains(&table.oid),
                must_be_anew: false,
            });
        }
        let at = text(&mut self.audited, "clock_timestamp()").unwrap();
        let new = self.copies.iter_mut().filter(|copy| copy.at.is_empty());
        new.for_each(|copy| copy.at.clone_from(&at));
    }

    fn relation(&mut self, table: &str) -> Option<u32> {
        let oid = text(&mut self.audited, &format!("to_regclass('{table}')::oid"))?;
        Some(oid.parse().unwrap())
    }

    /// Does to the copies what a migration will do to their tables.
    fn foresee(&mut self, step: &Step) {
        for Conversion { table, column, sql } in &step.converts {
            let tables = tables(&mut self.audited);
            let relation = self.relation(table);
            let table = tables.iter().find(|table| Some(table.oid) == relation);
            let Some(table) = table else { continue };
            let column_number = table.columns.iter().find(|known| known.name == *column);
            self.unsettled_columns
                .extend(column_number.map(|known| (table.oid, known.number)));
            for copy in &mut self.copies {
                if copy.relation != table.oid {
                    continue;
                }
                for copied in copy
                    .columns
                    .iter_mut()
                    .filter(|copied| copied.name == *column)
                {
                    let rows: Vec<_> = copied.values.iter().map(|v| json!({*column: v})).collect();
                    let converted = diesel::sql_query(format!(
                        "SELECT coalesce(jsonb_agg({sql}), '[]') AS value
                           FROM jsonb_to_recordset($1) AS s (\"{column}\" {})",
                        copied.kind
                    ))
                    .bind::<Jsonb, _>(Value::Array(rows))
                    .get_result::<Json>(&mut self.twin);
                    match converted {
                        Ok(converted) => {
                            copied.values =
                                serde_json::from_value(converted.value.unwrap()).unwrap();
                        }
                        Err(error) => panic!("{}: {error}", step.name),
                    }
                    copied.labels = None;
                    copied.conversions += 1;
                }
            }
        }
        for (tables, must) in [(&step.unrecorded, true), (&step.anew, false)] {
            for table in tables {
                let relation = self.relation(table);
                self.unsettled_tables.extend(relation);
                for copy in &mut self.copies {
                    if Some(copy.relation) == relation {
                        copy.may_be_anew = true;
                        copy.must_be_anew |= must;
                    }
                }
            }
        }
    }

    /// Renames in the copies what a migration has renamed.
    fn follow(&mut self) {
        let tables = tables(&mut self.audited);
        for copy in &mut self.copies {
            let Some(table) = tables.iter().find(|table| table.oid == copy.relation) else {
                continue;
            };
            copy.name.clone_from(&table.name);
            copy.columns.retain_mut(|copied| {
                let mut columns = table.columns.iter();
                let Some(column) = columns.find(|column| column.number == copied.number) else {
                    return false;
                };
                copied.name.clone_from(&column.name);
                copied.kind.clone_from(&column.kind);
                if let (Some(old), Some(new)) = (&copied.labels, &column.labels) {
                    for value in &mut copied.values {
                        let number = value.as_str().and_then(|label| old.get(label));
                        if let Some((label, _)) = new.iter().find(|(_, n)| Some(*n) == number) {
                            *value = json!(label);
                        }
                    }
                }
                copied.labels.clone_from(&column.labels);
                true
            });
        }
    }

    fn run(&mut self, step: &Step) {
        self.foresee(step);
        if let Err(error) = self.twin.run_migration(step) {
            panic!("{step} fails without Threadline: {error}");
        }
        let result = if self.way == Way::Within {
            let refreshing = threadline::migrations::refreshing(step.clone());
            let migration = refreshing.migrations().unwrap().remove(0);
            self.audited.run_migration(&*migration)
        } else {
            self.audited.run_migration(step)
        };
        if let Err(error) = result {
            panic!("{step} fails where tables are audited: {error}");
        }
        self.follow();
    }

    /// What follows a migration, or several of them.
    fn refresh(&mut self, steps: &[Step]) {
        if self.way != Way::Within {
            text(&mut self.audited, "threadline.refresh_audited_tables()");
        }
        for step in steps {
            for Conversion { table, column, sql } in &step.declares {
                let declared = self.audited.batch_execute(&format!(
                    "SELECT threadline.declare_conversion('{table}', '{column}', $sql${sql}$sql$)"
                ));
                let relation = self.relation(table);
                match declared {
                    Ok(()) => {
                        let copies = self.copies.iter_mut();
                        let of_it = copies.filter(|copy| Some(copy.relation) == relation);
                        for copied in of_it.flat_map(|copy| &mut copy.columns) {
                            if copied.name == *column && copied.conversions > 0 {
                                copied.conversions -= 1;
                            }
                        }
                    }
                    Err(error) if self.way == Way::Within => {
                        self.failures.push(format!("{step}: {error}"));
                    }
                    Err(_) => {}
                }
            }
        }
        self.unsettled_columns.clear();
        self.unsettled_tables.clear();
        for table in tables(&mut self.audited) {
            if !table.is_audited && !table.is_partition {
                text(
                    &mut self.audited,
                    &format!("threadline.audit_table('{}')", table.name),
                );
            }
        }
    }

    /// Compares the present and some of the copies with what the audit log says, or all of them.
    fn compare(&mut self, step: &Step, all: bool) {
        let tables = tables(&mut self.audited);
        for table in tables.iter().filter(|table| table.is_read()) {
            let Table { name, .. } = table;
            if !all && self.random.below(4) != 0 {
                continue;
            }
            let now = json(
                &mut self.audited,
                &format!(
                    "SELECT to_jsonb(count(*)) AS value FROM (
                       (TABLE {name} EXCEPT ALL SELECT * FROM threadline.as_of(NULL::{name}, clock_timestamp()))
                       UNION ALL
                       (SELECT * FROM threadline.as_of(NULL::{name}, clock_timestamp()) EXCEPT ALL TABLE {name})) AS d"
                ),
            );
            if now != Ok(json!(0)) {
                self.failures.push(format!(
                    "after {step}, {name} as of now: {now:?} other rows"
                ));
            }
        }
        let copies = std::mem::take(&mut self.copies);
        let mut of_each: BTreeMap<u32, Vec<&Copy>> = BTreeMap::new();
        for copy in &copies {
            of_each.entry(copy.relation).or_default().push(copy);
        }
        for copies in of_each.into_values() {
            let table = tables.iter().find(|table| table.oid == copies[0].relation);
            for (age, copy) in copies.iter().rev().enumerate() {
                let often = if all { 4 } else { copies.len() };
                let chosen = age == 0 && self.random.below(2) == 0;
                if !chosen && self.random.below(often) != 0 {
                    continue;
                }
                if let Err(failure) = self.compare_copy(copy, table, &tables) {
                    self.failures.push(format!(
                        "after {step}, {} as of {}, after {}: {failure}",
                        copy.name, copy.at, copy.step
                    ));
                }
            }
        }
        self.copies = copies;
    }

    fn compare_copy(
        &mut self,
        copy: &Copy,
        table: Option<&Table>,
        tables: &[Table],
    ) -> Result<(), String> {
        let Copy { name, at, .. } = copy;
        let read = format!(
            "SELECT coalesce(jsonb_agg(to_jsonb(r)), '[]') AS value FROM threadline.as_of(NULL::{name}, '{at}') AS r"
        );
        let Some(table) = table else {
            // Another table of its name does not have its past.
            if tables
                .iter()
                .any(|table| table.name == *name && table.is_audited)
            {
                match json(&mut self.audited, &read) {
                    Err(error) if error.contains("its history begins at") => {}
                    other => return Err(format!("the table was dropped: {other:?}")),
                }
            }
            return Ok(());
        };
        if !table.is_read() {
            return Ok(());
        }
        let columns: Vec<_> = copy.columns.iter().collect();
        match json(&mut self.audited, &read) {
            Ok(_) if copy.must_be_anew => Err("its history must have begun anew".to_owned()),
            Ok(rows) => self.compare_rows(copy, &columns, &rows),
            Err(error) if error.contains("its history begins at") => {
                if copy.may_be_anew && error.contains(", since ") {
                    self.before_history += 1;
                    Ok(())
                } else {
                    Err(error)
                }
            }
            Err(_) => {
                for copied in &copy.columns {
                    self.compare_column(copy, copied, table)?;
                }
                Ok(())
            }
        }
    }

    fn compare_column(
        &mut self,
        copy: &Copy,
        copied: &Copied,
        table: &Table,
    ) -> Result<(), String> {
        let Copy { name, at, .. } = copy;
        let mut columns: Vec<_> = copy
            .columns
            .iter()
            .filter(|column| table.key.contains(&column.name) && column.name != copied.name)
            .collect();
        columns.push(copied);
        let names: Vec<_> = columns.iter().map(|column| column.name.clone()).collect();
        // With the row as it is inlined into queries.
        let (schema, table_name) = name.split_once('.').unwrap();
        let found = json(
            &mut self.audited,
            &format!(
                "SELECT coalesce(jsonb_agg(to_jsonb(r)), '[]') AS value FROM (SELECT {}
                   FROM threadline_internal.\"as_of {schema}.{table_name}\"(NULL::{name}, '{at}')) AS r",
                quoted(&names)
            ),
        );
        match found {
            Ok(rows) => self.compare_rows(copy, &columns, &rows),
            Err(error) => {
                let names_it = columns.iter().any(|column| {
                    column.conversions > 0 && error.contains(&format!("column {} ", column.name))
                });
                let is_null = error.contains("NOT NULL now");
                // A refresh that comes later cannot tell which name a row was written with.
                let is_label =
                    self.way != Way::Within && error.contains("were renamed, and rows written");
                if names_it || is_null || is_label {
                    self.unknown += 1;
                    Ok(())
                } else {
                    Err(error)
                }
            }
        }
    }

    fn compare_rows(
        &mut self,
        copy: &Copy,
        columns: &[&Copied],
        rows: &Value,
    ) -> Result<(), String> {
        let mut found: Vec<String> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let values: Vec<_> = columns.iter().map(|column| &row[&column.name]).collect();
                json!(values).to_string()
            })
            .collect();
        let mut expected: Vec<String> = (0..copy.rows)
            .map(|row| {
                let values: Vec<_> = columns.iter().map(|column| &column.values[row]).collect();
                json!(values).to_string()
            })
            .collect();
        found.sort_unstable();
        expected.sort_unstable();
        if found == expected {
            self.right += 1;
            return Ok(());
        }
        let names: Vec<_> = columns.iter().map(|column| &column.name).collect();
        let only = |a: &[String], b: &[String]| {
            let rows: Vec<_> = a
                .iter()
                .filter(|row| !b.contains(row))
                .take(3)
                .cloned()
                .collect();
            rows.join("\n    ")
        };
        Err(format!(
            "{names:?}\n  expected {} rows\n    {}\n  found {}\n    {}",
            expected.len(),
            only(&expected, &found),
            found.len(),
            only(&found, &expected)
        ))
    }
}

fn through_all(way: Way, seed: u64) -> String {
    let (audited, twin) = (Database::new(), Database::new());
    let mut world = World {
        way,
        audited: audited.connect(),
        twin: twin.connect(),
        random: Random(seed),
        copies: Vec::new(),
        unsettled_columns: Vec::new(),
        unsettled_tables: Vec::new(),
        failures: Vec::new(),
        right: 0,
        unknown: 0,
        before_history: 0,
    };
    for conn in [&mut world.audited, &mut world.twin] {
        conn.batch_execute("SET client_min_messages = error; SET TimeZone = 'UTC'")
            .unwrap();
        conn.applied_migrations().unwrap();
    }
    let steps = steps();
    let mut done = 0;
    let began = Instant::now();
    for step in &steps {
        world.run(step);
        if way != Way::Within {
            world.write();
            world.copy(step.name);
        }
        let is_last = step.number + 1 == steps.len();
        if way != Way::Rarely || step.number % 4 == 3 || is_last {
            world.refresh(&steps[done..=step.number]);
            done = step.number + 1;
            world.compare(step, is_last);
            if way == Way::Within || way == Way::After && step.number % 3 == 0 {
                world.write();
                world.copy(step.name);
            }
        }
        if world.failures.len() > 12 {
            println!("{way:?} ends after {step}");
            break;
        }
    }
    let health =
        "SELECT to_jsonb(string_agg(concat_ws(' ', severity, table_name, message), '; ')) AS value
        FROM threadline.health WHERE severity = 'error'";
    let health = json(&mut world.audited, health);
    if health != Ok(Value::Null) {
        world.failures.push(format!("health: {health:?}"));
    }
    for table in tables(&mut world.audited) {
        let rows = format!(
            "SELECT jsonb_agg(to_jsonb(t) ORDER BY to_jsonb(t)) AS value FROM {} AS t",
            table.name
        );
        if json(&mut world.audited, &rows) != json(&mut world.twin, &rows) {
            world
                .failures
                .push(format!("{} is not as without Threadline", table.name));
        }
    }
    let World {
        right,
        unknown,
        before_history,
        failures,
        ..
    } = world;
    println!(
        "{way:?}: {right} right, {unknown} columns unknown, {before_history} before history, {:?}",
        began.elapsed()
    );
    if failures.is_empty() && (right < 300 || unknown > right) {
        return format!("{way:?}: only {right} copies were compared, {unknown} columns not known");
    }
    let failures = failures.iter().map(|failure| format!("{way:?}, {failure}"));
    failures.collect::<Vec<_>>().join("\n")
}

/// No migration fails because a table is audited, and after each of them the past is what it was, in terms of the tables as
/// they are then, or an error that says why it is not known.
#[test]
fn past_is_right_or_unknown_after_migrations() {
    let seed = env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(20_261_130);
    let failures: String = thread::scope(|scope| {
        let ways: &[Way] = if few_cases() {
            &[Way::After]
        } else {
            &[Way::Within, Way::After, Way::Rarely]
        };
        let running: Vec<_> = ways
            .iter()
            .map(|&way| scope.spawn(move || through_all(way, seed)))
            .collect();
        running
            .into_iter()
            .map(|way| {
                way.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    assert!(failures.is_empty(), "{SEED}={seed}\n{failures}");
}
