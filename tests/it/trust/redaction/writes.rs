//! What is written to a table.

use diesel::PgConnection;

use super::model::{Column, Kind, Table};
use super::steps::{SECOND, Sequence};

impl Sequence {
    pub(super) fn write(&mut self, conn: &mut PgConnection) {
        self.exact &= !self.table.drifted && !self.table.drifts();
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

    pub(super) fn insert(&mut self, table: &Table, expected: bool) -> String {
        let columns: Vec<&Column> = table
            .columns
            .iter()
            .filter(|column| column.source.is_none())
            .collect();
        let rows: Vec<String> = (0..=self.random.below(2))
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
