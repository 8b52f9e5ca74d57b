//! The steps that a table goes through.

use std::collections::BTreeSet;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;

use super::model::{Column, KINDS, Kind, Table};
use crate::random::Random;

/// A table, and all that was done to it.
#[derive(Clone)]
pub(super) struct Sequence {
    pub(super) number: usize,
    pub(super) schema: String,
    pub(super) random: Random,
    pub(super) table: Table,
    /// What the table was before another one took its name.
    pub(super) shelf: Option<Table>,
    counter: usize,
    /// Whether nothing was done that lets plain columns be redacted: names and numbers never disagreed.
    pub(super) exact: bool,
    /// How many inserts must be in the audit log, at least.
    pub(super) inserts: usize,
    /// Values that must be in it.
    pub(super) plain: Vec<String>,
    pub(super) history: Vec<String>,
    pub(super) version: u32,
}

/// How many values a table has.
pub(super) const PER_TABLE: usize = 1000;

/// The second partition begins with this key.
pub(super) const SECOND: usize = 1_000_000;

impl Sequence {
    pub(super) fn new(number: usize, seed: u64, version: u32) -> Self {
        let mut random = Random(seed);
        for _ in 0..3 {
            random.below(2);
        }
        let table = Table {
            name: "t".into(),
            columns: Vec::new(),
            redacted: BTreeSet::new(),
            defined: Vec::new(),
            captured: false,
            foreign: false,
            drifted: false,
            primary_key: None,
            partitioned: random.percent(20),
            second: None,
        };
        Self {
            number,
            schema: format!("s{number}"),
            random,
            table,
            shelf: None,
            counter: 0,
            exact: true,
            inserts: 0,
            plain: Vec::new(),
            history: Vec::new(),
            version,
        }
    }

    pub(super) fn count(&mut self) -> usize {
        self.counter += 1;
        self.number * PER_TABLE + self.counter % PER_TABLE
    }

    pub(super) fn column(&mut self, name: &str, kind: Kind, key: bool) -> Column {
        let id = self.count();
        let name = name.into();
        Column {
            id,
            name,
            kind,
            secret: false,
            key,
            source: None,
        }
    }

    pub(super) fn at(&self, table: &str) -> String {
        format!("{}.{table}", self.schema)
    }

    /// The table with secrets in it, under capture.
    pub(super) fn begin(&mut self, conn: &mut PgConnection) {
        let mut columns = vec![
            self.column("id", Kind::Integer, true),
            self.column("k", Kind::Integer, true),
        ];
        for name in ["a", "b", "c", "d"] {
            let kind = if self.random.percent(60) {
                Kind::Text
            } else {
                self.random.pick(&KINDS).unwrap()
            };
            columns.push(self.column(name, kind, false));
        }
        if self.random.percent(50) {
            self.random.shuffle(&mut columns);
        }
        self.table.columns = columns;
        let table = self.create();
        let sql = format!(
            "CREATE SCHEMA {0}; CREATE DOMAIN {0}.worded AS text; CREATE DOMAIN {0}.checked AS text CHECK (VALUE <> 'no');
             CREATE TYPE {0}.shade AS ENUM ('§a', '§b', 'p'); {1}",
            self.schema, table
        );
        self.must(conn, &sql);
        while !self.table.captured {
            self.attempt(conn, Self::audit);
        }
        self.write(conn);
    }

    pub(super) fn create(&mut self) -> String {
        let key = self.count();
        let mut sql = format!("CREATE TABLE {} (", self.at(&self.table.name));
        for column in &self.table.columns {
            let not_null = if column.key { " NOT NULL" } else { "" };
            sql += &format!(
                "{} {}{not_null}, ",
                column.name,
                column.kind.sql(&self.schema)
            );
        }
        let id = self
            .table
            .columns
            .iter()
            .find(|column| column.key)
            .unwrap()
            .name
            .clone();
        sql += &format!("CONSTRAINT pk{key} PRIMARY KEY ({id}))");
        self.table.primary_key = Some(format!("pk{key}"));
        self.table.second = None;
        if self.table.partitioned {
            sql += &format!(
                " PARTITION BY RANGE ({id}); CREATE TABLE {} PARTITION OF {} FOR VALUES FROM (MINVALUE) TO ({SECOND})",
                self.at(&format!("p{key}")),
                self.at(&self.table.name)
            );
        }
        sql
    }

    /// The table is about to be dumped. Where a dump would mislead, a refresh comes first.
    pub(super) fn dump(&mut self, conn: &mut PgConnection) {
        let misleads = |sequence: &Self| {
            sequence.table.misleads() || sequence.shelf.as_ref().is_some_and(Table::misleads)
        };
        if misleads(self) {
            self.attempt(conn, |sequence| {
                let main = sequence.refresh();
                let shelf = sequence.shelf.take().map(|mut shelf| {
                    let sql = sequence.attempt_refresh_of(&mut shelf);
                    sequence.shelf = Some(shelf);
                    sql
                });
                Some(
                    [main, shelf.flatten()]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>()
                        .join("; "),
                )
            });
        }
        if misleads(self) {
            self.attempt(conn, Self::put_back);
            self.attempt(conn, Self::make_anew);
        }
        assert!(!misleads(self), "{}", self.story());
        self.table.foreign = true;
        if let Some(shelf) = &mut self.shelf {
            shelf.foreign = true;
        }
        self.history.push("-- dump and restore".into());
    }

    /// Does a step, unless PostgreSQL or Threadline refuses it, and writes.
    pub(super) fn step(&mut self, conn: &mut PgConnection) {
        let steps: [(usize, fn(&mut Self) -> Option<String>); 17] = [
            (12, Self::rename),
            (9, Self::exchange),
            (9, Self::retype),
            (8, Self::add_again),
            (4, Self::drop_column),
            (8, Self::add_column),
            (4, Self::generate),
            (3, Self::generate_otherwise),
            (8, Self::make_anew),
            (5, Self::replace),
            (4, Self::put_back),
            (14, Self::audit),
            (3, Self::unaudit),
            (16, Self::refresh),
            (4, Self::change_key),
            (7, Self::partition),
            (2, Self::baseline),
        ];
        let mut at = self
            .random
            .below(steps.iter().map(|(weight, _)| weight).sum());
        let step = steps.iter().find(|(weight, _)| {
            at < *weight || {
                at -= weight;
                false
            }
        });
        self.attempt(conn, step.unwrap().1);
        self.write(conn);
    }

    pub(super) fn attempt(
        &mut self,
        conn: &mut PgConnection,
        step: fn(&mut Self) -> Option<String>,
    ) {
        let mut after = self.clone();
        let sql = step(&mut after);
        self.random = after.random.clone();
        let Some(sql) = sql else { return };
        if after.table.foreign && after.table.misleads() {
            return;
        }
        match conn.batch_execute(&sql) {
            Ok(()) => {
                *self = after;
                self.history.push(sql);
            }
            Err(error) => self
                .history
                .push(format!("-- refused: {error}: {}", sql.replace('\n', " "))),
        }
    }

    /// Runs what must not fail.
    pub(super) fn must(&mut self, conn: &mut PgConnection, sql: &str) {
        self.history.push(sql.to_owned());
        if let Err(error) = conn.batch_execute(sql) {
            panic!("{error}\n{}", self.story());
        }
    }

    pub(super) fn story(&self) -> String {
        format!("sequence {}:\n{};", self.number, self.history.join(";\n"))
    }
}
