use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};

use crate::sql::past_table::PastTable;

/// Writes the columns of a model, after the change and before it.
pub(crate) fn walk_past_row<'b>(
    columns: &'b impl QueryFragment<Pg>,
    table: &PastTable,
    mut out: AstPass<'_, 'b, Pg>,
) -> QueryResult<()> {
    table.walk(columns, out.reborrow())?;
    out.push_sql(", \"threadline_before\".*");
    Ok(())
}

/// Writes the `FROM` items for both rows. The select list of the model appears twice, each time
/// with the table's alias there: first for the row after the change, then for the row before it.
/// Whole rows are built from JSON in `FROM`; in a select list, each would be built once per column.
/// A value that cannot be converted to its present type is an error only if the model has its
/// column.
pub(crate) fn walk_past_rows<'b>(
    columns: &'b impl QueryFragment<Pg>,
    table: &PastTable,
    mut out: AstPass<'_, 'b, Pg>,
) -> QueryResult<()> {
    let rows = |image: &str| {
        let (call, alias) = (table.call("row_of"), table.alias());
        format!(
            "{call}, \"threadline_change\".\"{image}\", \"threadline_change\".\"id\") AS {alias}"
        )
    };
    out.push_sql(" CROSS JOIN LATERAL ");
    out.push_sql(&rows("row"));
    out.push_sql(" CROSS JOIN LATERAL (SELECT ");
    table.walk(columns, out.reborrow())?;
    out.push_sql(" FROM ");
    out.push_sql(&rows("row_before"));
    out.push_sql(") AS \"threadline_before\"");
    Ok(())
}
