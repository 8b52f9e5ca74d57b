//! Generates the implementation of `Audited`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use crate::model::Model;

pub(crate) fn expand(model: &Model) -> TokenStream {
    let Model {
        name,
        table,
        key,
        mask,
        exclude,
        hash_key,
        unredact,
        granularity,
        errors,
    } = model;
    // If the attributes are invalid, the implementation omits them, so that code that uses it
    // causes no further errors.
    let (mask, exclude, hash_key, unredact) = match errors {
        Some(_) => (&[][..], &[][..], &[][..], &[][..]),
        None => (&mask[..], &exclude[..], &hash_key[..], &unredact[..]),
    };
    let errors = errors.as_ref().map(syn::Error::to_compile_error);
    let column_name = |column: &syn::Ident| quote_spanned!(column.span()=> <#table::#column as ::threadline::__private::diesel::Column>::NAME);
    let key_names = key.iter().map(column_name);
    let mask_names = mask.iter().map(column_name);
    let exclude_names = exclude.iter().map(column_name);
    let hash_names = hash_key.iter().map(column_name);
    let unredact_names = unredact.iter().map(column_name);
    let unredacted = (!unredact.is_empty()).then(|| quote!(.unredact([#(#unredact_names),*])));
    let masked = (!mask.is_empty()).then(|| quote!(.mask([#(#mask_names),*])));
    let excluded = (!exclude.is_empty()).then(|| quote!(.exclude([#(#exclude_names),*])));
    let hashed = (!hash_key.is_empty()).then(|| quote!(.hash_key([#(#hash_names),*])));
    let granularity = granularity
        .as_ref()
        .map(|g| quote!(.granularity(::threadline::Granularity::#g)));
    // One check per column, so that the compiler points at the column that is not text.
    let maskable = mask.iter().map(|column| {
        quote_spanned! {column.span()=>
            const _: fn() = || {
                fn maskable<T: ::threadline::Maskable>() {}
                maskable::<::threadline::__private::diesel::dsl::SqlTypeOf<#table::#column>>();
            };
        }
    });
    quote! {
        #errors

        impl ::threadline::Audited for #name {
            type Table = #table::table;
            type Key = (#(::threadline::__private::diesel::dsl::SqlTypeOf<#table::#key>,)*);

            fn audit_spec() -> ::threadline::TableSpec {
                ::threadline::TableSpec::new(#table::table)
                    .key([#(#key_names),*])
                    #masked
                    #excluded
                    #hashed
                    #unredacted
                    #granularity
            }
        }

        #(#maskable)*
    }
}
