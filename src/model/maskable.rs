use diesel::sql_types::{Citext, Nullable, Text};

/// SQL types of columns that can hold the placeholder `[REDACTED]`, and can therefore be masked.
///
/// Implement it for your own SQL type if it accepts any text. The database checks again when the
/// table is put under capture, because a `varchar(5)` is `Text` to Diesel, but is too short.
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
