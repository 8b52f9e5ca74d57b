//! What the property knows of a table: which of its columns hold secrets, whatever they are called by now.

use std::collections::BTreeSet;

use crate::random::Random;

impl Random {
    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.below(of.len())].clone())
    }

    pub(super) fn shuffle<T>(&mut self, of: &mut [T]) {
        for last in (1..of.len()).rev() {
            of.swap(last, self.below(last + 1));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Array,
    Bytes,
    Checked,
    Domain,
    Enum,
    Integer,
    Json,
    Long,
    Short,
    Text,
}

use Kind::{Array, Bytes, Checked, Domain, Enum, Integer, Json, Long, Short, Text};

pub(super) const KINDS: [Kind; 10] = [
    Array, Bytes, Checked, Domain, Enum, Integer, Json, Long, Short, Text,
];

impl Kind {
    pub(super) fn holds_placeholder(self) -> bool {
        matches!(self, Domain | Long | Text)
    }

    /// The type, as it is called in the schema of the table.
    pub(super) fn sql(self, schema: &str) -> String {
        match self {
            Array => "text[]".into(),
            Bytes => "bytea".into(),
            Checked => format!("{schema}.checked"),
            Domain => format!("{schema}.worded"),
            Enum => format!("{schema}.shade"),
            Integer => "integer".into(),
            Json => "jsonb".into(),
            Long => "varchar(100)".into(),
            Short => "varchar(5)".into(),
            Text => "text".into(),
        }
    }

    /// SQL for the value number `n`. What [`LEAK`](super::property::LEAK) finds is in every secret one.
    pub(super) fn value(self, secret: bool, n: usize) -> String {
        let token = if secret {
            format!("secret-{n}§")
        } else {
            format!("plain-{n};")
        };
        match self {
            Array => format!("ARRAY['{token}']"),
            Bytes => format!("convert_to('{token}', 'UTF8')"),
            Enum if secret => "'§a'".into(),
            Enum => "'p'".into(),
            Integer if secret => format!("1618{n:06}"),
            Integer => n.to_string(),
            Json => format!(r#"'{{"is": ["{token}"]}}'"#),
            Short => format!("'{}{:04x}'", if secret { "§" } else { "p" }, n % 65536),
            Checked | Domain | Long | Text => format!("'{token}'"),
        }
    }

    /// SQL that converts a column of any type.
    pub(super) fn converted(self, column: &str, secret: bool, schema: &str) -> String {
        let text = format!("{column}::text");
        match self {
            Array => format!("ARRAY[{text}]"),
            Bytes if secret => format!("convert_to('secret-' || {text}, 'UTF8')"),
            Bytes => format!("convert_to({text}, 'UTF8')"),
            Enum => format!("'{}'::{schema}.shade", if secret { "§b" } else { "p" }),
            Integer if secret => format!("1618000000 + abs(hashtext({text}) % 1000000)"),
            Integer => format!("abs(hashtext({text}) % 1000000)"),
            Json => format!("to_jsonb({text})"),
            Short if secret => format!("'§' || left(md5({text}), 4)"),
            Short => format!("left({text}, 5)"),
            Long => format!("left({text}, 100)"),
            Checked | Domain | Text => text,
        }
    }
}

#[derive(Clone)]
pub(super) struct Column {
    /// Stays when it is renamed.
    pub(super) id: usize,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Threadline has seen it as a redacted one, so that it is one whatever it is called.
    pub(super) secret: bool,
    /// May be part of the primary key.
    pub(super) key: bool,
    /// The column that it is generated from.
    pub(super) source: Option<usize>,
}

#[derive(Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// What is called like this is redacted.
    pub(super) redacted: BTreeSet<String>,
    /// The names that capture was last defined with.
    pub(super) defined: Vec<String>,
    pub(super) captured: bool,
    /// Capture was defined before the table was restored, or for a table that this one takes the place of.
    pub(super) foreign: bool,
    /// Capture was defined where names and places disagreed, so that plain columns may be redacted.
    pub(super) drifted: bool,
    pub(super) primary_key: Option<String>,
    pub(super) partitioned: bool,
    /// A second partition, and whether it is attached.
    pub(super) second: Option<(String, bool)>,
}

impl Table {
    pub(super) fn is_secret(&self, column: &Column) -> bool {
        column.secret
            || self.redacted.contains(&column.name)
            || (self.columns.iter())
                .any(|source| Some(source.id) == column.source && self.is_secret(source))
    }

    /// Threadline looks at the table.
    pub(super) fn define(&mut self) {
        self.drifted |= self.drifts();
        let secret: Vec<bool> =
            (self.columns.iter().map(|column| self.is_secret(column))).collect();
        for (column, secret) in self.columns.iter_mut().zip(secret) {
            column.secret = secret;
            if secret {
                self.redacted.insert(column.name.clone());
            }
        }
        self.defined = self.names();
        self.captured = true;
        self.foreign = false;
    }

    /// Whether names and places may disagree.
    pub(super) fn drifts(&self) -> bool {
        self.foreign && !self.defined.is_empty() && self.names() != self.defined
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.columns
            .iter()
            .map(|column| column.name.clone())
            .collect()
    }

    /// In a restored table only names and their order are known. Where it looks as if columns had only been dropped and added
    /// since capture was defined, nobody can tell that a secret took the name of a column that was dropped.
    pub(super) fn misleads(&self) -> bool {
        let now = self.names();
        let known = |name: &&String| self.defined.contains(name);
        let renamed = now
            .iter()
            .skip_while(known)
            .any(|name| self.defined.contains(name))
            || now
                .iter()
                .filter(known)
                .ne(self.defined.iter().filter(|name| now.contains(name)));
        let rank = |of: &[String], name| of.iter().position(|other| other == name);
        let place = |of: &[String], among: &[String], name| {
            of.iter()
                .filter(|other| among.contains(other))
                .position(|other| other == name)
        };
        self.columns.iter().any(|column| {
            column.secret
                && !self.redacted.contains(&column.name)
                && self.defined.contains(&column.name)
                && place(&now, &self.defined, &column.name)
                    == place(&self.defined, &now, &column.name)
                && (!renamed || rank(&now, &column.name) == rank(&self.defined, &column.name))
        })
    }

    /// Columns that can be renamed: what is redacted by its name alone is so for as long as it has it.
    pub(super) fn renameable(&self) -> Vec<usize> {
        (0..self.columns.len())
            .filter(|&at| {
                let column = &self.columns[at];
                column.secret || !self.redacted.contains(&column.name)
            })
            .collect()
    }

    /// Columns that are neither generated nor can be part of the key.
    pub(super) fn ordinary(&self) -> Vec<usize> {
        (0..self.columns.len())
            .filter(|&at| !self.columns[at].key && self.columns[at].source.is_none())
            .collect()
    }
}
