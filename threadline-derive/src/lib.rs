//! `#[derive(Audited)]` for the [threadline](https://docs.rs/threadline) crate, which re-exports
//! it. Use it from there.

mod expand;
mod model;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `threadline::Audited` for a Diesel model.
///
/// It reads `#[diesel(table_name = …, primary_key(…))]` as Diesel's own derives do. (The defaults
/// are the name of the struct in snake case with an `s`, and `id`.) It also reads its own
/// attribute:
///
/// ```text
/// #[audited(mask(email, phone))]        // recorded as "[REDACTED]", so only the fact of a change is known; text columns only
/// #[audited(exclude(password_hash))]    // not recorded at all
/// #[audited(hash_key(token))]           // a primary key that is a secret: recorded as a keyed hash
/// #[audited(unredact(phone))]           // ends the redaction of a column, which otherwise only ever grows
/// #[audited(granularity = "row")]       // or "statement"; by default, the database chooses
/// ```
///
/// The columns are those of the `table!`, whether or not the model has a field for them. The
/// compiler checks that they exist, that hashed columns are part of the primary key, that masked
/// and excluded columns are not, and that no field of the model reads an excluded column.
#[proc_macro_derive(Audited, attributes(audited, diesel))]
pub fn derive_audited(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    match model::Model::parse(&input) {
        Ok(model) => expand::expand(&model).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
