use std::error::Error;

use diesel::deserialize::{self, FromStaticSqlRow};
use diesel::pg::Pg;
use diesel::result::UnexpectedNullError;
use diesel::row::{Field, Row};

/// The placeholder that the audit log holds instead of the value of a masked column.
const MASK: &[u8] = b"[REDACTED]";

/// A past row. If a type that validates its values rejects the mask, the error names the masked
/// columns.
pub struct MaskNamed<R>(pub R);

// Implemented for tuples of the lengths that are loaded: an implementation for all types would
// overlap with Diesel's own.
macro_rules! from_row {
    ($($column:ident)+) => {
        impl<R, $($column),+> FromStaticSqlRow<($($column,)+), Pg> for MaskNamed<R>
        where
            R: FromStaticSqlRow<($($column,)+), Pg>,
        {
            fn build_from_row<'a>(row: &impl Row<'a, Pg>) -> deserialize::Result<Self> {
                R::build_from_row(row)
                    .map(Self)
                    .map_err(|error| named(error, row))
            }
        }
    };
}

from_row!(A B C);
from_row!(A B C D);

/// A model rejected a row with masked columns.
#[derive(Debug, thiserror::Error)]
#[error(
    "the audit log has `[REDACTED]` for masked columns, here {columns}, and the model does not accept it: load text there"
)]
struct MaskNotAccepted {
    columns: String,
    source: Box<dyn Error + Send + Sync>,
}

fn named<'a>(
    source: Box<dyn Error + Send + Sync>,
    row: &impl Row<'a, Pg>,
) -> Box<dyn Error + Send + Sync> {
    // Diesel interprets this error as an outer join that found no row.
    if source.is::<UnexpectedNullError>() {
        return source;
    }
    let mut masked = Vec::new();
    for field in (0..row.field_count()).filter_map(|index| row.get(index)) {
        let is_masked = field.value().is_some_and(|value| value.as_bytes() == MASK);
        let name = field.field_name().unwrap_or_default().to_owned();
        if is_masked && !masked.contains(&name) {
            masked.push(name);
        }
    }
    if masked.is_empty() {
        return source;
    }
    let columns = masked.join(", ");
    Box::new(MaskNotAccepted { columns, source })
}
