//! What becomes of the table and of its capture.

use super::model::Table;
use super::steps::{SECOND, Sequence};

impl Sequence {
    /// The columns of a table that takes the name: none is generated.
    pub(super) fn other_columns(&mut self) {
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

    pub(super) fn make_anew(&mut self) -> Option<String> {
        let dropped = format!("DROP TABLE {} CASCADE", self.at(&self.table.name));
        self.other_columns();
        self.table.partitioned = self.random.percent(20);
        Some(format!("{dropped}; {}", self.create()))
    }

    pub(super) fn replace(&mut self) -> Option<String> {
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

    pub(super) fn put_back(&mut self) -> Option<String> {
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

    pub(super) fn audit(&mut self) -> Option<String> {
        let mut ordinary = self.table.ordinary();
        self.random.shuffle(&mut ordinary);
        let first = self.table.defined.is_empty();
        ordinary.truncate(usize::from(first) + self.random.below(2));
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

    pub(super) fn unaudit(&mut self) -> Option<String> {
        self.table.captured = false;
        Some(format!(
            "SELECT threadline.unaudit_table('{}')",
            self.at(&self.table.name)
        ))
    }

    /// What `threadline.refresh_audited_tables()` does to this table.
    pub(super) fn refresh(&mut self) -> Option<String> {
        let mut table = self.table.clone();
        let sql = self.attempt_refresh_of(&mut table);
        self.table = table;
        sql
    }

    pub(super) fn attempt_refresh_of(&self, table: &mut Table) -> Option<String> {
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

    pub(super) fn change_key(&mut self) -> Option<String> {
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

    pub(super) fn partition(&mut self) -> Option<String> {
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

    pub(super) fn baseline(&mut self) -> Option<String> {
        Some(format!(
            r#"SELECT threadline.baseline_step('{}', '{{"type": "user", "id": "ada"}}', 'a test')"#,
            self.at(&self.table.name)
        ))
    }
}
