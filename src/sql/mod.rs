//! SQL text: quoting, parsing and rewriting. Nothing here depends on auditing.

mod ident;
mod literal;
pub(crate) mod past_table;
#[cfg(test)]
mod random_queries;
pub(crate) mod relations;
pub(crate) mod rewrite;
mod tokens;

pub(crate) use ident::{quoted, rendered, try_rendered};
pub(crate) use literal::Literal;
