//! Columns that get another type.

use super::super::Walk;
use super::super::table::{self, Column};
use super::migration::Migration;

impl Walk {
    /// Columns get another type: as PostgreSQL converts them, or so that nothing says how.
    pub(in super::super) fn convert(&mut self) -> Option<Migration> {
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
}
