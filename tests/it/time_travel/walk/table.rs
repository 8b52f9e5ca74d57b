//! A table of the walk, and what may be unknown of its past.

use std::collections::BTreeMap;

use crate::random::Random;
use diesel::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

pub(super) struct Table {
    pub(super) name: &'static str,
    /// What the columns that keys are made of are called.
    pub(super) id: String,
    pub(super) u: String,
    /// Whether something was altered that no refresh has followed.
    pub(super) dirty: bool,
    /// The first moment that must be known: rows came or went before it that no trigger saw, or the key changed.
    pub(super) since: usize,
    /// Whether the next refresh may find that it is so.
    pub(super) may_be_anew: bool,
    /// Columns that were converted since the last refresh.
    pub(super) unsettled: Vec<String>,
    /// Columns that were converted, each with the first moment that its values must be known of.
    pub(super) converted: BTreeMap<String, usize>,
    /// The partitions, each with its region.
    pub(super) partitions: Vec<(String, String)>,
}

impl Table {
    pub(super) fn new(name: &'static str) -> Self {
        let partitions = match name {
            "parcels" => vec![0, 1],
            _ => Vec::new(),
        };
        Self {
            name,
            id: "id".to_owned(),
            u: "u".to_owned(),
            dirty: false,
            since: 0,
            may_be_anew: false,
            unsettled: Vec::new(),
            converted: BTreeMap::new(),
            partitions: partitions
                .into_iter()
                .map(|n| (format!("parcels_{n}"), format!("r{n}")))
                .collect(),
        }
    }

    /// A refresh has found, before the next moment, what there was to find.
    pub(super) fn refreshed(&mut self, next_moment: usize) {
        self.dirty = false;
        if std::mem::take(&mut self.may_be_anew) {
            self.since = next_moment;
        }
        let unsettled = self.unsettled.drain(..);
        self.converted
            .extend(unsettled.map(|column| (column, next_moment)));
    }

    /// Whether a column has no part in keys or partitions.
    pub(super) fn is_ordinary(&self, column: &Column) -> bool {
        ![&self.id, &self.u].contains(&&column.name) && column.name != "region"
    }

    pub(super) fn renamed(&mut self, from: &str, to: &str) {
        let names = [&mut self.id, &mut self.u].into_iter();
        for name in names.chain(&mut self.unsettled) {
            if name == from {
                to.clone_into(name);
            }
        }
        if let Some(moment) = self.converted.remove(from) {
            self.converted.insert(to.to_owned(), moment);
        }
    }
}

#[derive(Debug, Clone, QueryableByName)]
pub(super) struct Column {
    #[diesel(sql_type = Text)]
    pub(super) name: String,
    #[diesel(sql_type = Text)]
    pub(super) kind: String,
    #[diesel(sql_type = Bool)]
    pub(super) not_null: bool,
}

pub(super) fn columns(conn: &mut PgConnection, table: &str) -> Vec<Column> {
    let sql = "SELECT attname::text AS name, format_type(atttypid, atttypmod) AS kind, attnotnull AS not_null
                 FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    let query = diesel::sql_query(sql).bind::<Text, _>(table);
    query.load(conn).expect("the table has columns")
}

pub(super) fn names(columns: &[Column]) -> String {
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    names.join(", ")
}

/// A value that the number makes another one. Half a number becomes a whole one when it is converted.
pub(super) fn literal(random: &mut Random, column: &Column, n: usize) -> String {
    if !column.not_null && random.below(6) == 0 {
        return "NULL".to_owned();
    }
    match column.kind.as_str() {
        "integer" | "bigint" => n.to_string(),
        "numeric" => format!("{n}.{}", random.of(&["5", "25", "0"])),
        "boolean" => n.is_multiple_of(2).to_string(),
        "jsonb" => format!(r#"'{{"n": {n}}}'"#),
        "date" => format!("date '2026-01-01' + {n}"),
        "timestamp with time zone" => {
            format!("timestamptz '2026-01-01 12:00:00.5+01' + {n} * interval '1 hour'")
        }
        _ => format!("'it''s {n}'"),
    }
}
