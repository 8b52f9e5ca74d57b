//! The steps that a table goes through.

use std::collections::BTreeSet;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;

use super::model::{Column, KINDS, Kind, Random, Table};

/// A table, and all that was done to it.
#[derive(Clone)]
pub(super) struct Sequence {
    pub(super) number: usize,
    pub(super) schema: String,
    pub(super) random: Random,
    pub(super) table: Table,
    /// What the table was before another one took its name.
    shelf: Option<Table>,
    counter: usize,
    /// Whether nothing was done that lets plain columns be redacted: names and numbers never disagreed.
    pub(super) exact: bool,
    /// How many inserts must be in the audit log, at least.
    pub(super) inserts: usize,
    /// Values that must be in it.
    pub(super) plain: Vec<String>,
    pub(super) history: Vec<String>,
    version: u32,
}

/// How many values a table has.
pub(super) const PER_TABLE: usize = 1000;

/// The second partition begins with this key.
const SECOND: usize = 1_000_000;

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

    fn count(&mut self) -> usize {
        self.counter += 1;
        self.number * PER_TABLE + self.counter % PER_TABLE
    }

    fn column(&mut self, name: &str, kind: Kind, key: bool) -> Column {
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

    fn at(&self, table: &str) -> String {
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

    fn create(&mut self) -> String {
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
    fn must(&mut self, conn: &mut PgConnection, sql: &str) {
        self.history.push(sql.to_owned());
        if let Err(error) = conn.batch_execute(sql) {
            panic!("{error}\n{}", self.story());
        }
    }

    pub(super) fn story(&self) -> String {
        format!("sequence {}:\n{};", self.number, self.history.join(";\n"))
    }

    fn alter(&self, what: &str) -> String {
        format!("ALTER TABLE {} {what}", self.at(&self.table.name))
    }

    /// A name that no column has: a new one, or one that a column had.
    fn free_name(&mut self) -> String {
        let names = self.table.names();
        let pool = ["a", "b", "c", "d", "e", "f"].map(ToOwned::to_owned);
        let free: Vec<_> = pool
            .into_iter()
            .filter(|name| !names.contains(name))
            .collect();
        let n = self.count();
        self.random.pick(&free).unwrap_or_else(|| format!("n{n}"))
    }

    /// What is renamed is rarely the key.
    fn renameable(&mut self) -> Vec<usize> {
        let keys = self.random.percent(5);
        let mut found = self.table.renameable();
        found.retain(|&at| keys || !self.table.columns[at].key);
        self.random.shuffle(&mut found);
        found
    }

    fn rename(&mut self) -> Option<String> {
        let at = *self.renameable().first()?;
        let new = self.free_name();
        let old = std::mem::replace(&mut self.table.columns[at].name, new.clone());
        Some(self.alter(&format!("RENAME {old} TO {new}")))
    }

    fn exchange(&mut self) -> Option<String> {
        let mut circle = self.renameable();
        circle.truncate(if self.random.percent(30) { 3 } else { 2 });
        if circle.len() < 2 {
            return None;
        }
        let names: Vec<String> = circle
            .iter()
            .map(|&at| self.table.columns[at].name.clone())
            .collect();
        let mut sql = vec![self.alter(&format!("RENAME {} TO between", names[0]))];
        for (at, &column) in circle.iter().enumerate().skip(1) {
            sql.push(self.alter(&format!("RENAME {} TO {}", names[at], names[at - 1])));
            self.table.columns[column].name.clone_from(&names[at - 1]);
        }
        let last = names.last().unwrap();
        self.table.columns[circle[0]].name.clone_from(last);
        sql.push(self.alter(&format!("RENAME between TO {last}")));
        Some(sql.join("; "))
    }

    fn retype(&mut self) -> Option<String> {
        let at = self.random.pick(&self.table.ordinary())?;
        let kind = self.random.pick(&KINDS)?;
        let column = self.table.columns[at].clone();
        self.table.columns[at].kind = kind;
        let converted = kind.converted(&column.name, self.table.is_secret(&column), &self.schema);
        Some(self.alter(&format!(
            "ALTER {0} DROP DEFAULT, ALTER {0} TYPE {1} USING {converted}",
            column.name,
            kind.sql(&self.schema)
        )))
    }

    fn add(&mut self, name: &str, kind: Kind) -> String {
        let column = self.column(name, kind, false);
        let n = self.count();
        let default = if self.random.percent(30) {
            format!(" DEFAULT {}", kind.value(self.table.is_secret(&column), n))
        } else {
            String::new()
        };
        self.table.columns.push(column);
        self.alter(&format!("ADD {name} {}{default}", kind.sql(&self.schema)))
    }

    fn add_again(&mut self) -> Option<String> {
        let at = self.random.pick(&self.table.ordinary())?;
        let dropped = self.table.columns.remove(at);
        let refresh = if self.random.percent(30) {
            self.refresh()
        } else {
            None
        };
        let kind = if self.random.percent(70) {
            dropped.kind
        } else {
            self.random.pick(&KINDS)?
        };
        let added = self.add(&dropped.name, kind);
        let dropped = self.alter(&format!("DROP {}", dropped.name));
        Some(format!(
            "{dropped}; {}; {added}",
            refresh.unwrap_or_else(|| "SELECT".into())
        ))
    }

    fn drop_column(&mut self) -> Option<String> {
        let at = self.random.pick(&self.table.ordinary())?;
        let dropped = self.table.columns.remove(at);
        Some(self.alter(&format!("DROP {}", dropped.name)))
    }

    fn add_column(&mut self) -> Option<String> {
        let name = self.free_name();
        let kind = self.random.pick(&KINDS)?;
        Some(self.add(&name, kind))
    }

    fn expression(&mut self) -> Option<(usize, String)> {
        let texts: Vec<usize> = self
            .table
            .ordinary()
            .into_iter()
            .filter(|&at| {
                matches!(
                    self.table.columns[at].kind,
                    Kind::Checked | Kind::Domain | Kind::Long | Kind::Text
                )
            })
            .collect();
        let source = self.random.pick(&texts)?;
        Some((
            self.table.columns[source].id,
            format!("(upper({}::text))", self.table.columns[source].name),
        ))
    }

    fn generate(&mut self) -> Option<String> {
        let (source, expression) = self.expression()?;
        let name = self.free_name();
        let mut column = self.column(&name, Kind::Text, false);
        column.source = Some(source);
        self.table.columns.push(column);
        Some(self.alter(&format!(
            "ADD {name} text GENERATED ALWAYS AS {expression} STORED"
        )))
    }

    fn generate_otherwise(&mut self) -> Option<String> {
        let generated: Vec<usize> = (0..self.table.columns.len())
            .filter(|&at| self.table.columns[at].source.is_some())
            .collect();
        let at = self.random.pick(&generated)?;
        if self.version < 17 || self.random.percent(50) {
            let dropped = self.table.columns.remove(at);
            return Some(self.alter(&format!("DROP {}", dropped.name)));
        }
        let (source, expression) = self.expression()?;
        self.table.columns[at].source = Some(source);
        let name = self.table.columns[at].name.clone();
        Some(self.alter(&format!("ALTER {name} SET EXPRESSION AS {expression}")))
    }

    /// The columns of a table that takes the name: none is generated.
    fn other_columns(&mut self) {
        let table = &mut self.table;
        let mut columns = table.columns.clone();
        columns.retain(|column| column.source.is_none());
        match self.random.below(4) {
            0 => self.random.shuffle(&mut columns),
            1 => columns.retain(|column| column.key || !table.redacted.contains(&column.name)),
            _ => {}
        }
        for column in &mut columns {
            column.secret = false;
        }
        table.columns = columns;
        table.captured = false;
        table.foreign = true;
    }

    fn make_anew(&mut self) -> Option<String> {
        let dropped = format!("DROP TABLE {} CASCADE", self.at(&self.table.name));
        self.other_columns();
        self.table.partitioned = self.random.percent(20);
        Some(format!("{dropped}; {}", self.create()))
    }

    fn replace(&mut self) -> Option<String> {
        if self.shelf.is_some() {
            return None;
        }
        let mut shelf = self.table.clone();
        shelf.name = format!("u{}", self.count());
        let renamed = self.alter(&format!("RENAME TO {}", shelf.name));
        let refresh = if self.random.percent(30) {
            self.attempt_refresh_of(&mut shelf)
        } else {
            None
        };
        self.other_columns();
        self.shelf = Some(shelf);
        Some(format!(
            "{renamed}; {}; {}",
            refresh.unwrap_or_else(|| "SELECT".into()),
            self.create()
        ))
    }

    fn put_back(&mut self) -> Option<String> {
        let mut table = self.shelf.take()?;
        let sql = format!(
            "DROP TABLE {0} CASCADE; ALTER TABLE {1} RENAME TO {2}",
            self.at(&self.table.name),
            self.at(&table.name),
            self.table.name
        );
        table.name.clone_from(&self.table.name);
        self.table = table;
        Some(sql)
    }

    fn audit(&mut self) -> Option<String> {
        self.exact &= !self.table.foreign || self.table.names() == self.table.defined;
        let mut ordinary = self.table.ordinary();
        self.random.shuffle(&mut ordinary);
        let first = self.table.defined.is_empty();
        ordinary.truncate(if first { 1 } else { 0 } + self.random.below(2));
        let [mut mask, mut exclude] = [Vec::new(), Vec::new()];
        for at in ordinary {
            let column = &self.table.columns[at];
            self.table.redacted.insert(column.name.clone());
            let masked = column.kind.holds_placeholder() && self.random.percent(60);
            (if masked { &mut mask } else { &mut exclude }).push(column.name.clone());
        }
        let granularity = self.random.pick(&["NULL", "'row'", "'statement'"])?;
        self.table.define();
        Some(format!(
            "SELECT threadline.audit_table('{}', mask => '{{{}}}', exclude => '{{{}}}', granularity => {granularity})",
            self.at(&self.table.name),
            mask.join(","),
            exclude.join(",")
        ))
    }

    fn unaudit(&mut self) -> Option<String> {
        self.table.captured = false;
        Some(format!(
            "SELECT threadline.unaudit_table('{}')",
            self.at(&self.table.name)
        ))
    }

    /// What threadline.refresh_audited_tables() does to this table.
    pub(super) fn refresh(&mut self) -> Option<String> {
        let mut table = self.table.clone();
        let sql = self.attempt_refresh_of(&mut table);
        self.table = table;
        sql
    }

    fn attempt_refresh_of(&self, table: &mut Table) -> Option<String> {
        if !table.captured {
            return None;
        }
        table.define();
        Some(format!(
            "SELECT threadline.audit_table(relation, granularity => requested_granularity) FROM threadline.audited_tables
              WHERE relation = '{}'::regclass",
            self.at(&table.name)
        ))
    }

    fn change_key(&mut self) -> Option<String> {
        let keys: Vec<String> = (self.table.columns.iter())
            .filter(|column| column.key)
            .map(|column| column.name.clone())
            .collect();
        let name = format!("pk{}", self.count());
        let columns = match self.random.below(3) {
            0 => keys[1].clone(),
            1 => keys.join(", "),
            _ => keys[0].clone(),
        };
        let add = self.alter(&format!("ADD CONSTRAINT {name} PRIMARY KEY ({columns})"));
        match self.table.primary_key.replace(name) {
            Some(old) => Some(format!(
                "{}; {add}",
                self.alter(&format!("DROP CONSTRAINT {old}"))
            )),
            None => Some(add),
        }
    }

    fn partition(&mut self) -> Option<String> {
        if !self.table.partitioned {
            return None;
        }
        match self.table.second.clone() {
            None => {
                let name = format!("p{}", self.count());
                let mut columns = self.table.columns.clone();
                columns.reverse();
                let columns: Vec<_> = columns
                    .iter()
                    .map(|c| {
                        format!(
                            "{} {}{}",
                            c.name,
                            c.kind.sql(&self.schema),
                            if c.key { " NOT NULL" } else { "" }
                        )
                    })
                    .collect();
                self.table.second = Some((name.clone(), true));
                Some(format!(
                    "CREATE TABLE {0} ({1}); ALTER TABLE {2} ATTACH PARTITION {0} FOR VALUES FROM ({SECOND}) TO (MAXVALUE)",
                    self.at(&name),
                    columns.join(", "),
                    self.at(&self.table.name)
                ))
            }
            Some((name, true)) => {
                self.table.second = Some((name.clone(), false));
                Some(self.alter(&format!("DETACH PARTITION {}", self.at(&name))))
            }
            Some((name, false)) => {
                self.table.second = Some((name.clone(), true));
                Some(self.alter(&format!(
                    "ATTACH PARTITION {} FOR VALUES FROM ({SECOND}) TO (MAXVALUE)",
                    self.at(&name)
                )))
            }
        }
    }

    fn baseline(&mut self) -> Option<String> {
        Some(format!(
            r#"SELECT threadline.baseline_step('{}', '{{"type": "user", "id": "ada"}}', 'a test')"#,
            self.at(&self.table.name)
        ))
    }

    fn write(&mut self, conn: &mut PgConnection) {
        self.exact &= !self.table.foreign || self.table.names() == self.table.defined;
        let mut sql = self.insert(&self.table.clone(), true);
        let table = self.at(&self.table.name);
        let keys: Vec<String> = (self.table.columns.iter())
            .filter(|column| column.key)
            .map(|column| column.name.clone())
            .collect();
        let [id, k] = [&keys[0], &keys[1]];
        if self.random.percent(60) {
            let mut set = Vec::new();
            for at in self.table.ordinary() {
                let column = self.table.columns[at].clone();
                if self.random.percent(40) {
                    let n = self.count();
                    set.push(format!(
                        "{} = {}",
                        column.name,
                        column.kind.value(self.table.is_secret(&column), n)
                    ));
                }
            }
            if !set.is_empty() {
                let rows = self
                    .random
                    .pick(&[
                        "true".into(),
                        format!("{id} = (SELECT max({id}) FROM {table})"),
                    ])
                    .unwrap();
                sql += &format!("; UPDATE {table} SET {} WHERE {rows}", set.join(", "));
            }
        }
        if self.random.percent(20) {
            let [n, m] = [self.count(), self.count()];
            sql += &format!(
                "; UPDATE {table} SET {id} = {n}, {k} = {m} WHERE {k} = (SELECT min({k}) FROM {table})"
            );
        }
        if self.random.percent(20) {
            sql += &format!("; DELETE FROM {table} WHERE {id} = (SELECT min({id}) FROM {table})");
        }
        if self.random.percent(5) {
            sql += &format!("; TRUNCATE {table}");
        }
        if let Some(shelf) = self.shelf.clone().filter(|_| self.random.percent(40)) {
            sql += &format!("; {}", self.insert(&shelf, false));
            sql += &format!("; DELETE FROM {}", self.at(&shelf.name));
        }
        self.must(conn, &sql);
    }

    fn insert(&mut self, table: &Table, expected: bool) -> String {
        let columns: Vec<&Column> = table
            .columns
            .iter()
            .filter(|column| column.source.is_none())
            .collect();
        let rows: Vec<String> = (0..1 + self.random.below(2))
            .map(|_| {
                let base = match table.second {
                    Some((_, true)) if self.random.percent(30) => SECOND,
                    _ => 0,
                };
                let values: Vec<String> = columns
                    .iter()
                    .map(|column| {
                        let n = self.count();
                        if column.key {
                            return (base + n).to_string();
                        }
                        let secret = table.is_secret(column);
                        if !secret
                            && expected
                            && self.exact
                            && table.captured
                            && !matches!(
                                column.kind,
                                Kind::Bytes | Kind::Enum | Kind::Integer | Kind::Short
                            )
                        {
                            self.plain.push(format!("plain-{n};"));
                        }
                        column.kind.value(secret, n)
                    })
                    .collect();
                if table.captured && expected {
                    self.inserts += 1;
                }
                format!("({})", values.join(", "))
            })
            .collect();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        format!(
            "INSERT INTO {} ({}) VALUES {}",
            self.at(&table.name),
            names.join(", "),
            rows.join(", ")
        )
    }
}
