//! What becomes of columns.

use super::model::{KINDS, Kind};
use super::steps::Sequence;

impl Sequence {
    pub(super) fn alter(&self, what: &str) -> String {
        format!("ALTER TABLE {} {what}", self.at(&self.table.name))
    }

    /// A name that no column has: a new one, or one that a column had.
    pub(super) fn free_name(&mut self) -> String {
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
    pub(super) fn renameable(&mut self) -> Vec<usize> {
        let keys = self.random.percent(5);
        let mut found = self.table.renameable();
        found.retain(|&at| keys || !self.table.columns[at].key);
        self.random.shuffle(&mut found);
        found
    }

    pub(super) fn rename(&mut self) -> Option<String> {
        let at = *self.renameable().first()?;
        let new = self.free_name();
        let old = std::mem::replace(&mut self.table.columns[at].name, new.clone());
        Some(self.alter(&format!("RENAME {old} TO {new}")))
    }

    pub(super) fn exchange(&mut self) -> Option<String> {
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

    pub(super) fn retype(&mut self) -> Option<String> {
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

    pub(super) fn add(&mut self, name: &str, kind: Kind) -> String {
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

    pub(super) fn add_again(&mut self) -> Option<String> {
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

    pub(super) fn drop_column(&mut self) -> Option<String> {
        let at = self.random.pick(&self.table.ordinary())?;
        let dropped = self.table.columns.remove(at);
        Some(self.alter(&format!("DROP {}", dropped.name)))
    }

    pub(super) fn add_column(&mut self) -> Option<String> {
        let name = self.free_name();
        let kind = self.random.pick(&KINDS)?;
        Some(self.add(&name, kind))
    }

    pub(super) fn expression(&mut self) -> Option<(usize, String)> {
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

    pub(super) fn generate(&mut self) -> Option<String> {
        let (source, expression) = self.expression()?;
        let name = self.free_name();
        let mut column = self.column(&name, Kind::Text, false);
        column.source = Some(source);
        self.table.columns.push(column);
        Some(self.alter(&format!(
            "ADD {name} text GENERATED ALWAYS AS {expression} STORED"
        )))
    }

    pub(super) fn generate_otherwise(&mut self) -> Option<String> {
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
}
