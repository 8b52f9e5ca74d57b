//! The steps of the walk: writes, and migrations that the copies go through as well.

use super::Walk;
use super::table::{self, Column, literal};
use crate::common::run;

/// A migration of a table: what is done to it, and what is done to the copies.
pub(super) struct Migration {
    table: usize,
    live: Vec<String>,
    kept: Vec<String>,
    renames: Vec<(String, String)>,
    /// The column whose values may be unknown before.
    converts: Option<String>,
    /// Whether the history of the table may begin anew.
    anew: bool,
    partitions: Option<Vec<(String, String)>>,
}

impl Migration {
    fn new(table: usize) -> Self {
        Self {
            table,
            live: Vec::new(),
            kept: Vec::new(),
            renames: Vec::new(),
            converts: None,
            anew: false,
            partitions: None,
        }
    }

    /// Alters the table and the copies of it.
    fn both(mut self, name: &str, what: &str) -> Self {
        self.live.push(format!("ALTER TABLE {name} {what}"));
        self.kept.push(format!("ALTER TABLE kept.{name} {what}"));
        self
    }

    fn rename(mut self, name: &str, from: &str, to: &str) -> Self {
        self.renames.push((from.to_owned(), to.to_owned()));
        self.both(name, &format!("RENAME {from} TO {to}"))
    }
}

impl Walk {
    pub(super) fn next(&mut self) -> usize {
        self.counter += 1;
        self.counter
    }

    /// A transaction of one to three writes of any of the tables.
    pub(super) fn write(&mut self) {
        let statements: Vec<_> = (0..=self.random.below(3))
            .map(|_| self.random.below(self.tables.len()))
            .collect();
        let statements: Vec<_> = statements
            .into_iter()
            .map(|table| self.statement(table))
            .collect();
        self.attempt(&statements);
    }

    fn statement(&mut self, at: usize) -> String {
        let name = self.tables[at].name;
        let columns = table::columns(&mut self.conn, name);
        let (id, n) = (self.tables[at].id.clone(), self.random.below(12));
        let row = format!("{id} = (SELECT {id} FROM {name} ORDER BY {id} OFFSET {n} LIMIT 1)");
        match self.random.below(20) {
            0..8 => self.insert(at, &columns),
            8..14 => {
                let column = self.random.of(&columns).clone();
                let value = self.value(at, &column);
                format!("UPDATE {name} SET {} = {value} WHERE {row}", column.name)
            }
            14 => {
                let column = self.random.of(&columns).clone();
                format!("UPDATE {name} SET {0} = {0}", column.name)
            }
            15 if at == 1 => {
                let region = self.region();
                format!("UPDATE {name} SET region = '{region}' WHERE {row}")
            }
            15 | 16 => {
                let ordinary = columns
                    .iter()
                    .filter(|column| self.tables[at].is_ordinary(column));
                let ordinary: Vec<_> = ordinary.cloned().collect();
                let column = self.random.of(&ordinary).clone();
                let value = self.value(at, &column);
                format!("UPDATE {name} SET {} = {value}", column.name)
            }
            17 | 18 => format!("DELETE FROM {name} WHERE {row}"),
            _ if self.random.below(3) == 0 => format!("TRUNCATE {name}"),
            _ => format!(
                "DELETE FROM {name} WHERE {row}; {}",
                self.insert(at, &columns)
            ),
        }
    }

    fn insert(&mut self, at: usize, columns: &[Column]) -> String {
        let values: Vec<_> = columns
            .iter()
            .map(|column| self.value(at, column))
            .collect();
        let (name, names) = (self.tables[at].name, table::names(columns));
        format!(
            "INSERT INTO {name} ({names}) VALUES ({}) ON CONFLICT DO NOTHING",
            values.join(", ")
        )
    }

    fn region(&mut self) -> String {
        let partitions = &self.tables[1].partitions;
        self.random.of(partitions).1.clone()
    }

    /// Keys come again, after their rows were deleted. Whatever else there is comes once.
    fn value(&mut self, at: usize, column: &Column) -> String {
        if column.name == "region" {
            return format!("'{}'", self.region());
        }
        let n = if column.name == self.tables[at].id {
            self.random.below(12)
        } else {
            self.next()
        };
        literal(&mut self.random, column, n)
    }

    /// A transaction that has written before the next moment, and writes again after it: at that moment it has done nothing.
    pub(super) fn straddle(&mut self) {
        let columns = table::columns(&mut self.conn, "items");
        let mut other = self.database.connect();
        let fresh = |walk: &mut Self| {
            let values: Vec<_> = (columns.iter())
                .map(|column| {
                    let n = walk.next();
                    literal(&mut walk.random, column, n)
                })
                .collect();
            let names = table::names(&columns);
            format!("INSERT INTO items ({names}) VALUES ({})", values.join(", "))
        };
        let (first, meanwhile, last) = (fresh(self), fresh(self), fresh(self));
        self.story
            .push(format!("/* other session */ BEGIN; {first};"));
        run(&mut other, &format!("BEGIN; {first}"));
        self.attempt(&[meanwhile]);
        self.keep();
        self.story
            .push(format!("/* other session */ {last}; COMMIT;"));
        run(&mut other, &format!("{last}; COMMIT"));
    }

    /// Runs a migration: mostly with the refresh in its transaction, else with writes before the refresh, or none for now.
    pub(super) fn migrate(&mut self, step: fn(&mut Self) -> Option<Migration>) {
        let Some(migration) = step(self) else { return };
        let mut statements = migration.live.clone();
        let within = self.random.below(10) < 6;
        if within {
            statements.push("SELECT threadline.refresh_audited_tables()".to_owned());
        }
        statements.extend(migration.kept.clone());
        if !self.attempt(&statements) {
            return;
        }
        self.tally.migrations += 1;
        let table = &mut self.tables[migration.table];
        for (from, to) in &migration.renames {
            table.renamed(from, to);
        }
        table.dirty = true;
        table.may_be_anew |= migration.anew;
        table.unsettled.extend(migration.converts);
        if let Some(partitions) = migration.partitions {
            table.partitions = partitions;
        }
        if within {
            self.refreshed();
        } else if self.random.below(2) == 0 {
            self.write();
            self.refresh();
        }
    }

    /// Columns come, go and change their names.
    pub(super) fn alter(&mut self) -> Option<Migration> {
        let at = self.random.below(self.tables.len());
        let name = self.tables[at].name;
        let columns = table::columns(&mut self.conn, name);
        let ordinary: Vec<_> = columns
            .iter()
            .filter(|column| self.tables[at].is_ordinary(column))
            .map(|column| column.name.clone())
            .collect();
        let unused: Vec<_> = ["a", "b", "c", "d", "e", "f"]
            .into_iter()
            .filter(|name| columns.iter().all(|column| column.name != *name))
            .collect();
        let migration = Migration::new(at);
        let one = self.random.of(&ordinary).clone();
        let add = |walk: &mut Self, name: &str| {
            let kinds = [
                "int",
                "bigint",
                "text",
                "numeric",
                "jsonb",
                "int DEFAULT 7",
                "text DEFAULT 'it''s'",
                "numeric NOT NULL DEFAULT 1.5",
                "boolean NOT NULL DEFAULT true",
                "text NOT NULL DEFAULT ''",
            ];
            format!("ADD {name} {}", walk.random.of(&kinds))
        };
        Some(match self.random.below(6) {
            0 | 1 if !unused.is_empty() => {
                let new = *self.random.of(&unused);
                let what = add(self, new);
                migration.both(name, &what)
            }
            2 if ordinary.len() > 1 => {
                let migration = migration.both(name, &format!("DROP {one}"));
                // Another column takes its name.
                if self.random.below(2) == 0 {
                    let what = add(self, &one);
                    migration.both(name, &what)
                } else {
                    migration
                }
            }
            3 if !unused.is_empty() => {
                let from = columns[self.random.below(columns.len())].name.clone();
                if from == "region" {
                    return None;
                }
                let to = *self.random.of(&unused);
                migration.rename(name, &from, to)
            }
            4 if ordinary.len() > 1 => {
                let other = ordinary.iter().find(|name| **name != one)?;
                migration
                    .rename(name, &one, "between")
                    .rename(name, other, &one)
                    .rename(name, "between", other)
            }
            _ => {
                let mut migration = migration;
                let default = self.random.of(&["DROP DEFAULT", "SET DEFAULT NULL"]);
                migration
                    .live
                    .push(format!("ALTER TABLE {name} ALTER {one} {default}"));
                migration
            }
        })
    }

    /// Columns get another type: as PostgreSQL converts them, or so that nothing says how.
    pub(super) fn convert(&mut self) -> Option<Migration> {
        let at = self.random.below(self.tables.len());
        let name = self.tables[at].name;
        let columns = table::columns(&mut self.conn, name);
        let column = self.random.of(&columns).clone();
        if column.name == "region" {
            return None;
        }
        let Column {
            name: one, kind, ..
        } = &column;
        let plain: &[&str] = match kind.as_str() {
            "integer" => &["bigint", "numeric", "text", "integer"],
            "bigint" => &["numeric", "text"],
            "numeric" => &["bigint", "text"],
            "text" => &["varchar(60)"],
            _ => &["text"],
        };
        let unknown: &[&str] = match kind.as_str() {
            "integer" => &["integer USING {} * 10 + 1", "text USING '#' || {}"],
            "bigint" => &["bigint USING -{} - 1"],
            "numeric" => &["numeric USING {} / 100 + 0.001"],
            "text" => &["text USING {} || '!'", "integer USING length({}) + 1000"],
            "boolean" => &[
                "boolean USING NOT {}",
                "text USING CASE WHEN {} THEN 'yes' ELSE 'no' END",
            ],
            _ => return None,
        };
        let is_ordinary = self.tables[at].is_ordinary(&column);
        let migration = Migration::new(at);
        if is_ordinary && self.random.below(5) < 2 {
            // A row whose value shows that the conversion is not the plain one.
            let mut values = columns.clone();
            for value in &mut values {
                value.not_null = true;
            }
            let insert = self.insert(at, &values);
            self.attempt(&[insert]);
            let using = self.random.of(unknown).replace("{}", one);
            // A default may have no conversion.
            let mut migration = migration
                .both(name, &format!("ALTER {one} DROP DEFAULT"))
                .both(name, &format!("ALTER {one} TYPE {using}"));
            migration.converts = Some(one.clone());
            return Some(migration);
        }
        let kind = if is_ordinary {
            *self.random.of(plain)
        } else {
            "bigint"
        };
        let using = format!("ALTER {one} TYPE {kind} USING {one}::{kind}");
        let mut migration = migration
            .both(name, &format!("ALTER {one} DROP DEFAULT"))
            .both(name, &using);
        migration.converts = Some(one.clone());
        Some(migration)
    }

    /// Partitions come and go, empty or with rows.
    pub(super) fn partition(&mut self) -> Migration {
        let mut partitions = self.tables[1].partitions.clone();
        let mut migration = Migration::new(1);
        if partitions.len() > 3 || partitions.len() > 1 && self.random.below(2) == 0 {
            let (gone, _) = partitions.remove(self.random.below(partitions.len()));
            if self.random.below(3) > 0 {
                migration.live.push(format!("TRUNCATE {gone}"));
            } else {
                migration.anew = true;
            }
            migration
                .live
                .push(format!("ALTER TABLE parcels DETACH PARTITION {gone}"));
            // The refresh can no longer see that it was empty.
            if self.random.below(4) == 0 {
                migration.live.push(format!("DROP TABLE {gone}"));
                migration.anew = true;
            }
        } else {
            let n = self.next();
            let (new, region) = (format!("parcels_{n}"), format!("r{n}"));
            let mut columns = table::columns(&mut self.conn, "parcels");
            if self.random.below(2) == 0 {
                columns.reverse();
            }
            let each: Vec<_> = (columns.iter())
                .map(
                    |Column {
                         name,
                         kind,
                         not_null,
                     }| {
                        format!("{name} {kind}{}", if *not_null { " NOT NULL" } else { "" })
                    },
                )
                .collect();
            migration
                .live
                .push(format!("CREATE TABLE {new} ({})", each.join(", ")));
            if self.random.below(4) == 0 {
                let values: Vec<_> = (columns.iter())
                    .map(|column| match column.name.as_str() {
                        "region" => format!("'{region}'"),
                        _ => self.value(1, column),
                    })
                    .collect();
                let values = values.join(", ");
                migration
                    .live
                    .push(format!("INSERT INTO {new} VALUES ({values})"));
                migration.anew = true;
            }
            migration.live.push(format!(
                "ALTER TABLE parcels ATTACH PARTITION {new} FOR VALUES IN ('{region}')"
            ));
            partitions.push((new, region));
        }
        migration.partitions = Some(partitions);
        migration
    }

    /// Rows are told by other columns.
    pub(super) fn change_key(&mut self) -> Migration {
        let at = self.random.below(2);
        let mut migration = Migration::new(at);
        let table = &self.tables[at];
        let (name, id, u) = (table.name, table.id.clone(), table.u.clone());
        let key = match (at, self.random.below(3)) {
            (0, 0) => id,
            (0, 1) => u,
            (0, _) => format!("{u}, {id}"),
            (_, 0) => format!("region, {id}"),
            (_, 1) => format!("{u}, region"),
            _ => format!("{id}, region, {u}"),
        };
        migration.live.push(format!(
            "ALTER TABLE {name} DROP CONSTRAINT {name}_key, ADD CONSTRAINT {name}_key PRIMARY KEY ({key})"
        ));
        migration.anew = true;
        migration
    }
}
