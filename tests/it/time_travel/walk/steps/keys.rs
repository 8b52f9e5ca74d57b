//! Another primary key.

use super::super::Walk;
use super::migration::Migration;

impl Walk {
    /// Rows are told by other columns.
    pub(in super::super) fn change_key(&mut self) -> Migration {
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
