//! Writes of the tables.

use super::super::Walk;
use super::super::table::{self, Column, literal};
use crate::common::run;

impl Walk {
    pub(super) fn next(&mut self) -> usize {
        self.counter += 1;
        self.counter
    }

    /// A transaction of one to three writes of any of the tables.
    pub(in super::super) fn write(&mut self) {
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

    pub(super) fn insert(&mut self, at: usize, columns: &[Column]) -> String {
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
    pub(super) fn value(&mut self, at: usize, column: &Column) -> String {
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
    pub(in super::super) fn straddle(&mut self) {
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
}
