//! Columns that come, go and change their names.

use super::super::Walk;
use super::super::table;
use super::migration::Migration;

impl Walk {
    /// Columns come, go and change their names.
    pub(in super::super) fn alter(&mut self) -> Option<Migration> {
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
}
