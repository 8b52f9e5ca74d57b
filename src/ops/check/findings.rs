//! The comparisons of [`assert_audited`](super::assert_audited), without a connection.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Array, Bool, Nullable, Text};

use crate::error::Error;
use crate::finding::Finding;
use crate::model::{Granularity, TableSpec};
use crate::query::{CoverageState, HealthProblem, TableCoverage};
use crate::sql::Literal;

/// What to check: the tables of these specifications, and in any case that no table is uncovered.
#[allow(missing_debug_implementations)]
#[doc(hidden)]
pub struct Check<'a> {
    pub(super) specs: Option<&'a [TableSpec]>,
}

/// The problems of audited tables. The view `health` would also check partitions and rights.
pub(super) fn health_of_tables() -> SqlQuery {
    diesel::sql_query("SELECT * FROM threadline_internal.health_tables()")
}

/// What the database knows about the table of a specification.
#[derive(QueryableByName)]
pub(super) struct SpecRow {
    #[diesel(sql_type = Nullable<Text>)]
    table_schema: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    table_name: Option<String>,
    #[diesel(sql_type = Bool)]
    is_audited: bool,
    #[diesel(sql_type = Array<Text>)]
    masked_columns: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    excluded_columns: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    hashed_columns: Vec<String>,
    #[diesel(sql_type = Nullable<Text>)]
    requested_granularity: Option<Granularity>,
    #[diesel(sql_type = Array<Text>)]
    key_columns: Vec<String>,
}

impl SpecRow {
    /// Returns one row for each specification, in order.
    pub(super) fn query(specs: &[TableSpec]) -> BoxedSqlQuery<'_, Pg, SqlQuery> {
        let names: Vec<_> = specs.iter().map(TableSpec::table_name).collect();
        diesel::sql_query(
            "SELECT n.nspname::text AS table_schema, c.relname::text AS table_name, a.id IS NOT NULL AS is_audited, \
             coalesce(a.masked_columns, '{}') AS masked_columns, coalesce(a.excluded_columns, '{}') AS excluded_columns, \
             coalesce(a.hashed_columns, '{}') AS hashed_columns, a.requested_granularity, k.columns AS key_columns \
             FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS s (name, position) \
             LEFT JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(s.name) \
             LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             LEFT JOIN threadline.audited_tables AS a ON a.relation = c.oid AND a.capture_ended_at IS NULL \
             CROSS JOIN LATERAL threadline_internal.primary_key(c.oid) AS k ORDER BY s.position",
        )
        .into_boxed()
        .bind::<Array<Text>, _>(names)
    }

    fn compare(&self, spec: &TableSpec, findings: &mut Vec<Finding>) {
        let (Some(schema), Some(table)) = (&self.table_schema, &self.table_name) else {
            findings.push(Finding::new(
                spec.table_name(),
                "there is no such table",
                "Run the migrations of the application, and look at the search_path.",
            ));
            return;
        };
        let name = format!("{schema}.{table}");
        let mut wrong = |message: String, hint: &str| {
            findings.push(Finding::new(&name, message, hint));
        };
        if !spec.key_columns().is_empty() && spec.key_columns() != self.key_columns {
            let message = format!(
                "the model has the primary key ({}), the table ({})",
                spec.key_columns().join(", "),
                self.key_columns.join(", ")
            );
            wrong(
                message,
                "Correct #[diesel(primary_key(…))] on the model, or the table.",
            );
        }
        let hint = format!("{} or threadline::capture::install", spec.up_sql());
        if !self.is_audited {
            wrong("it is not audited".to_owned(), &hint);
            return;
        }
        // The database may redact more columns than this model declares, because another model may
        // have declared them.
        let is_excluded = |column: &String| self.excluded_columns.contains(column);
        let is_redacted =
            |column: &String| self.masked_columns.contains(column) || is_excluded(column);
        for column in spec.masked_columns().iter().filter(|c| !is_redacted(c)) {
            let message = format!("column {column} is not masked, but in the model");
            wrong(message, &hint);
        }
        for column in spec.excluded_columns().iter().filter(|c| !is_excluded(c)) {
            let message = format!("column {column} is not excluded, but in the model");
            wrong(message, &hint);
        }
        let is_hashed = |column: &String| self.hashed_columns.contains(column);
        for column in spec.hashed_columns().iter().filter(|c| !is_hashed(c)) {
            let message = format!("column {column} is not recorded as a hash, but in the model");
            wrong(message, &hint);
        }
        let unredacted = spec.unredacted_columns().iter().filter(|c| {
            is_excluded(c)
                || is_redacted(c) && !spec.masked_columns().contains(c)
                || is_hashed(c) && !spec.hashed_columns().contains(c)
        });
        for column in unredacted {
            let message = format!("column {column} is redacted, but unredacted in the model");
            wrong(message, &hint);
        }
        if spec.requested_granularity() != self.requested_granularity {
            let word = |granularity: Option<Granularity>| match granularity {
                Some(granularity) => format!("by {}", granularity.as_str()),
                None => "as the database chooses".to_owned(),
            };
            let message = format!(
                "capture is {}, and in the model {}",
                word(self.requested_granularity),
                word(spec.requested_granularity())
            );
            wrong(message, &hint);
        }
    }
}

/// All problems as one error.
pub(super) fn findings(
    specs: &[TableSpec],
    rows: &[SpecRow],
    tables: &[TableCoverage],
    problems: &[HealthProblem],
) -> Result<(), Error> {
    let mut findings = Vec::new();
    for (spec, row) in specs.iter().zip(rows) {
        row.compare(spec, &mut findings);
    }
    for problem in problems {
        if let (Some(schema), Some(table)) = (&problem.table_schema, &problem.table_name) {
            let name = format!("{schema}.{table}");
            findings.push(Finding::new(&name, &*problem.message, &*problem.hint));
        }
    }
    for table in tables {
        let TableCoverage {
            table_schema,
            table_name,
            ..
        } = table;
        let is_told = rows.iter().any(|row| {
            row.table_schema.as_ref() == Some(table_schema)
                && row.table_name.as_ref() == Some(table_name)
        });
        if table.state == CoverageState::Uncovered && !is_told {
            let quoted = |name: &str| name.replace('"', "\"\"");
            let literal = format!("\"{}\".\"{}\"", quoted(table_schema), quoted(table_name));
            let literal = Literal(&literal);
            findings.push(Finding::new(
                &format!("{table_schema}.{table_name}"),
                "it is neither audited nor exempt",
                format!("SELECT threadline.audit_table({literal}); or SELECT threadline.exempt_table({literal}, 'why it need not be');"),
            ));
        }
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Error::NotCovered { findings })
    }
}
