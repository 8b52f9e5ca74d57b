//! `#[derive(Audited)]` for the [threadline](https://docs.rs/threadline) crate, which exports it; use it from there.

mod expand;
mod model;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a Diesel model an audited one: implements the trait `threadline::Audited`.
///
/// It reads `#[diesel(table_name = …, primary_key(…))]` as Diesel's own derives do (the name of the struct in snake
/// case with an `s`, and `id`, unless given), and its own attribute:
///
/// ```text
/// #[audited(mask(email, phone))]        // recorded as "[REDACTED]"; that they changed is known. Columns of text only.
/// #[audited(exclude(password_hash))]    // not recorded at all
/// #[audited(hash_key(token))]           // a secret that is the primary key: recorded as a keyed hash
/// #[audited(unredact(phone))]           // no longer masked or excluded; without it, redaction only ever grows
/// #[audited(granularity = "row")]       // or "statement"; left out, the database chooses
/// ```
///
/// The columns named are those of the `table!`, whether or not the model has a field for them. The compiler checks
/// that they exist, that hashed ones are part of the primary key and masked or excluded ones are not, and that no field of the model reads an excluded one.
#[proc_macro_derive(Audited, attributes(audited, diesel))]
pub fn derive_audited(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    match model::Model::parse(&input) {
        Ok(model) => expand::expand(&model).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
