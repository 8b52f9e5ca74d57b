use diesel::Table;
use diesel::expression::Selectable;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;

use super::spec::TableSpec;

/// A Diesel model whose table is audited. Implemented by `#[derive(Audited)]`.
///
/// The model may cover only some columns of the table; all other columns are recorded too. The
/// queries on a model are in [`AuditedDsl`](crate::AuditedDsl).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an audited model",
    label = "has no recorded history",
    note = "add `#[derive(Audited)]` to `{Self}`, and put its table under capture with `threadline::capture::install`"
)]
pub trait Audited: Selectable<Pg> + Sized {
    /// The `table!` of the model.
    type Table: Table + Default + QueryFragment<Pg>;

    /// The SQL types of the primary key, as a tuple even for a single column.
    type Key;

    /// Returns the table specification that the attributes of the model declare.
    fn audit_spec() -> TableSpec;
}
