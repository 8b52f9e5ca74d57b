use diesel::Table;
use diesel::expression::Selectable;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;

use super::spec::TableSpec;

/// A Diesel model whose table is under audit: implemented by `#[derive(Audited)]`.
///
/// The model may be a part of the table: every column it does not name is recorded all the same. What can be asked of it is in
/// [`AuditedDsl`](crate::AuditedDsl).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an audited model",
    label = "has no recorded history",
    note = "add `#[derive(Audited)]` to `{Self}`, and put its table under capture with `threadline::capture::install`"
)]
pub trait Audited: Selectable<Pg> + Sized {
    /// The `table!` of the model.
    type Table: Table + Default + QueryFragment<Pg>;

    /// SQL types of the primary key, as a tuple also when it is one column.
    type Key;

    /// How the table is to be audited, from the attributes of the model.
    fn audit_spec() -> TableSpec;
}
