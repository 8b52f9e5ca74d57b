//! A migration, and how it is run.

use super::super::Walk;

/// A migration of a table: what is done to it, and what is done to the copies.
pub(in super::super) struct Migration {
    pub(super) table: usize,
    pub(super) live: Vec<String>,
    pub(super) kept: Vec<String>,
    pub(super) renames: Vec<(String, String)>,
    /// The column whose values may be unknown before.
    pub(super) converts: Option<String>,
    /// Whether the history of the table may begin anew.
    pub(super) anew: bool,
    pub(super) partitions: Option<Vec<(String, String)>>,
}

impl Migration {
    pub(super) fn new(table: usize) -> Self {
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
    pub(super) fn both(mut self, name: &str, what: &str) -> Self {
        self.live.push(format!("ALTER TABLE {name} {what}"));
        self.kept.push(format!("ALTER TABLE kept.{name} {what}"));
        self
    }

    pub(super) fn rename(mut self, name: &str, from: &str, to: &str) -> Self {
        self.renames.push((from.to_owned(), to.to_owned()));
        self.both(name, &format!("RENAME {from} TO {to}"))
    }
}

impl Walk {
    /// Runs a migration: mostly with the refresh in its transaction, else with writes before the refresh, or none for now.
    pub(in super::super) fn migrate(&mut self, step: fn(&mut Self) -> Option<Migration>) {
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
}
