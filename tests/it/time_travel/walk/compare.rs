//! The past beside what was kept of it.

use diesel::QueryResult;
use diesel::prelude::*;
use diesel::result::DatabaseErrorInformation;
use diesel::result::Error::DatabaseError;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::Walk;
use super::table::{self, Column};
use crate::common::text;
use crate::time_travel::says_altered;

/// How often the past was what, and how far the walk came.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Readings of a table as of a moment that gave the kept rows, where the last refresh had followed all that was altered.
    pub(super) exact: usize,
    /// The same, with columns that have no value before their conversion.
    pub(super) in_part: usize,
    pub(super) before_history: usize,
    /// Readings of tables that were altered and not refreshed: exact ones, and errors.
    pub(super) exact_in_between: usize,
    pub(super) past_in_between: usize,
    pub(super) restores: usize,
    pub(super) migrations: usize,
}

impl Tally {
    /// Whether most of the past could be read, so that the walk shows something.
    pub(super) fn is_telling(&self) -> bool {
        let unknown = self.in_part + self.before_history;
        self.restores > 0 && self.migrations > 5 && self.exact > 300 && self.exact > unknown
    }
}

#[derive(QueryableByName)]
struct Difference {
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = Nullable<Text>)]
    example: Option<String>,
}

/// The constraint and the column that an error of the database names.
fn named(error: &dyn DatabaseErrorInformation) -> (Option<&str>, &str) {
    (
        error.constraint_name(),
        error.column_name().unwrap_or_default(),
    )
}

impl Walk {
    /// Compares each table as of the newest moments and of as many others.
    pub(super) fn compare(&mut self, others: usize) {
        let moments: Vec<usize> = if others > self.moments {
            (0..self.moments).collect()
        } else {
            let newest = self.moments.saturating_sub(2)..self.moments;
            let random = (0..others).map(|_| self.random.below(self.moments));
            random.chain(newest).collect()
        };
        for table in 0..self.tables.len() {
            let columns = table::columns(&mut self.conn, self.tables[table].name);
            for &moment in &moments {
                if let Err(failure) = self.compare_one(table, moment, &columns) {
                    let name = self.tables[table].name;
                    self.failures
                        .push(format!("{name} as of moment {moment}: {failure}"));
                }
            }
        }
    }

    fn compare_one(
        &mut self,
        table: usize,
        moment: usize,
        columns: &[Column],
    ) -> Result<(), String> {
        let (name, dirty, since) = {
            let table = &self.tables[table];
            (table.name, table.dirty, table.since)
        };
        let all = table::names(columns);
        match self.difference(name, "threadline.as_of", moment, &all) {
            Ok(Difference { rows: 0, .. }) if dirty => self.tally.exact_in_between += 1,
            Ok(Difference { rows: 0, .. }) => self.tally.exact += 1,
            Ok(difference) => {
                return Err(format!(
                    "{} other rows: {:?}",
                    difference.rows, difference.example
                ));
            }
            Err(DatabaseError(_, error)) => match named(&*error) {
                (Some("threadline_past"), _) if dirty => self.tally.past_in_between += 1,
                // PostgreSQL looks for the columns before it calls what would refuse.
                (None, _) if dirty && says_altered(error.message()) => {
                    self.tally.past_in_between += 1;
                }
                (Some("threadline_before_history"), _)
                    if moment < since || shows_nothing(error.message()) =>
                {
                    self.tally.before_history += 1;
                }
                (Some("threadline_value"), _) => {
                    for column in columns {
                        self.compare_column(table, moment, column)?;
                    }
                    self.tally.in_part += 1;
                }
                _ => return Err(format!("{}, hint {:?}", error.message(), error.hint())),
            },
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }

    /// A column alone, which has a value, or no value because of its own conversion.
    fn compare_column(
        &mut self,
        table: usize,
        moment: usize,
        column: &Column,
    ) -> Result<(), String> {
        let name = self.tables[table].name;
        let function = format!("threadline_internal.\"as_of public.{name}\"");
        match self.difference(name, &function, moment, &column.name) {
            Ok(Difference { rows: 0, .. }) => Ok(()),
            Ok(difference) => Err(format!(
                "{} other values of {}: {:?}",
                difference.rows, column.name, difference.example
            )),
            Err(DatabaseError(_, error)) => {
                let converted = &self.tables[table].converted;
                let known = if name == "bags" {
                    // Rows without a key are compared as a whole, so that each column needs all the others.
                    converted.values().max()
                } else {
                    converted.get(&column.name)
                };
                let may_be_unknown = known.is_some_and(|known| moment < *known);
                if named(&*error).0 == Some("threadline_value")
                    && (may_be_unknown || shows_nothing(error.message()))
                {
                    Ok(())
                } else {
                    Err(format!("{}: {}", column.name, error.message()))
                }
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The rows of the past that were not kept, and the other way round.
    fn difference(
        &mut self,
        table: &str,
        function: &str,
        moment: usize,
        columns: &str,
    ) -> QueryResult<Difference> {
        let at = format!("SELECT at FROM kept.moments WHERE moment_ = {moment}");
        let at = text(&mut self.conn, &at).expect("the moment was kept");
        let sql = format!(
            "WITH past AS MATERIALIZED (SELECT {columns} FROM {function}(NULL::{table}, '{at}') AS p),
                  kept AS (SELECT {columns} FROM kept.{table} WHERE moment_ = {moment})
             SELECT count(*) AS rows, string_agg(d, ' ') AS example
               FROM (SELECT 'found ' || f::text FROM (TABLE past EXCEPT ALL TABLE kept) AS f
                     UNION ALL
                     SELECT 'not found ' || k::text FROM (TABLE kept EXCEPT ALL TABLE past) AS k) AS d (d)"
        );
        diesel::sql_query(sql).get_result(&mut self.conn)
    }
}

/// Whether a plain conversion is not known because no row was left that shows it.
fn shows_nothing(message: &str) -> bool {
    message.contains("nothing shows how")
}
