use diesel::sql_types::{Citext, Nullable, Text};

/// SQL types of columns that can hold the placeholder `[REDACTED]`, and so be masked.
///
/// Implement it for your own SQL type if it takes any text. The database checks once more when the table is
/// put under capture: a `varchar(5)` is `Text` to Diesel, and too short.
#[diagnostic::on_unimplemented(
    message = "a column of type `{Self}` cannot be masked",
    label = "cannot hold the placeholder `[REDACTED]`",
    note = "use `exclude(…)` to keep its values out of the audit log"
)]
pub trait Maskable {}

impl Maskable for Citext {}
impl Maskable for Text {}
impl Maskable for Nullable<Citext> {}
impl Maskable for Nullable<Text> {}
