//! Parses a model and its attributes, and checks everything that needs no type information.

use proc_macro2::{Span, TokenTree};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, Field, Fields, Ident, LitStr, Meta, Path, Result,
    Token,
};

pub(crate) struct Model {
    pub(crate) name: Ident,
    pub(crate) table: Path,
    pub(crate) key: Vec<Ident>,
    pub(crate) mask: Vec<Ident>,
    pub(crate) exclude: Vec<Ident>,
    pub(crate) hash_key: Vec<Ident>,
    pub(crate) unredact: Vec<Ident>,
    pub(crate) granularity: Option<Ident>,
    /// The errors in the attributes. They are separate from the error for a model that cannot be
    /// parsed, so that the implementation is still generated and one mistake causes one error.
    pub(crate) errors: Option<Error>,
}

impl Model {
    pub(crate) fn parse(input: &DeriveInput) -> Result<Self> {
        let Data::Struct(data) = &input.data else {
            return Err(Error::new(
                input.ident.span(),
                "only a struct with a row's columns as fields can be `Audited`",
            ));
        };
        if !input.generics.params.is_empty() {
            return Err(Error::new(
                input.generics.span(),
                "an `Audited` model is loaded from the database and cannot be generic",
            ));
        }
        let mut model = Self {
            name: input.ident.clone(),
            table: inferred_table(&input.ident),
            key: vec![Ident::new("id", Span::call_site())],
            mask: Vec::new(),
            exclude: Vec::new(),
            hash_key: Vec::new(),
            unredact: Vec::new(),
            granularity: None,
            errors: None,
        };
        for attribute in &input.attrs {
            let parsed = if attribute.path().is_ident("diesel") {
                model.read_diesel(attribute)
            } else if attribute.path().is_ident("audited") {
                model.read_audited(attribute)
            } else {
                Ok(())
            };
            if let Err(error) = parsed {
                model.report(error);
            }
        }
        model.check_redaction();
        model.check_unredaction();
        model.check_fields(&data.fields);
        Ok(model)
    }

    fn report(&mut self, error: Error) {
        match &mut self.errors {
            Some(errors) => errors.combine(error),
            None => self.errors = Some(error),
        }
    }

    /// Ignores all other options, which are for Diesel.
    fn read_diesel(&mut self, attribute: &Attribute) -> Result<()> {
        for option in attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)? {
            match &option {
                Meta::NameValue(pair) if pair.path.is_ident("table_name") => match &pair.value {
                    Expr::Path(table) => self.table = table.path.clone(),
                    other => {
                        return Err(Error::new(other.span(), "expected the path of a `table!`"));
                    }
                },
                Meta::List(list) if list.path.is_ident("primary_key") => {
                    self.key = list.parse_args_with(columns)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_audited(&mut self, attribute: &Attribute) -> Result<()> {
        attribute.parse_nested_meta(|option| {
            if option.path.is_ident("mask") {
                let content;
                syn::parenthesized!(content in option.input);
                self.mask.extend(columns(&content)?);
            } else if option.path.is_ident("exclude") {
                let content;
                syn::parenthesized!(content in option.input);
                self.exclude.extend(columns(&content)?);
            } else if option.path.is_ident("hash_key") {
                let content;
                syn::parenthesized!(content in option.input);
                self.hash_key.extend(columns(&content)?);
            } else if option.path.is_ident("unredact") {
                let content;
                syn::parenthesized!(content in option.input);
                self.unredact.extend(columns(&content)?);
            } else if option.path.is_ident("granularity") {
                let word: LitStr = option.value()?.parse()?;
                let variant = match word.value().as_str() {
                    "row" => "Row",
                    "statement" => "Statement",
                    _ => {
                        return Err(Error::new(
                            word.span(),
                            "expected `\"row\"` or `\"statement\"`",
                        ));
                    }
                };
                self.granularity = Some(Ident::new(variant, word.span()));
            } else {
                return Err(option.error(
                    "expected `mask(…)`, `exclude(…)`, `hash_key(…)`, `unredact(…)` or `granularity = \"…\"`",
                ));
            }
            Ok(())
        })
    }

    fn check_redaction(&mut self) {
        for column in self
            .mask
            .iter()
            .chain(&self.exclude)
            .cloned()
            .collect::<Vec<_>>()
        {
            if self.key.contains(&column) {
                self.report(Error::new(
                    column.span(),
                    format!(
                        "column `{column}` is part of the primary key: it says whose history a change belongs to, \
                         so it can be neither masked nor excluded; a secret can be recorded as a hash, `hash_key({column})`"
                    ),
                ));
            }
        }
        for column in self.hash_key.clone() {
            if !self.key.contains(&column) {
                self.report(Error::new(
                    column.span(),
                    format!("column `{column}` is not part of the primary key: mask or exclude it"),
                ));
            }
        }
        for column in self.exclude.clone() {
            if self.mask.contains(&column) {
                self.report(Error::new(
                    column.span(),
                    format!(
                        "column `{column}` is both masked and excluded: a masked column is recorded as a placeholder, \
                         an excluded one not at all"
                    ),
                ));
            }
        }
    }

    fn check_unredaction(&mut self) {
        for column in self.unredact.clone() {
            if self.exclude.contains(&column) {
                self.report(Error::new(
                    column.span(),
                    format!("column `{column}` is both excluded and unredacted"),
                ));
            }
        }
    }

    fn check_fields(&mut self, fields: &Fields) {
        for field in fields {
            if let Some(option) = field.attrs.iter().find_map(select_expression) {
                self.report(Error::new(
                    option,
                    "a `select_expression` can read other tables, and the past of a row has only its own columns: \
                     derive `Audited` on a struct of the table's own columns",
                ));
            }
            let Some(column) = column_of(field) else {
                continue;
            };
            if self.exclude.contains(&column) {
                self.report(Error::new(
                    column.span(),
                    format!(
                        "column `{column}` is excluded from the audit log, so nothing recorded can fill this field: \
                         derive `Audited` on a struct without it"
                    ),
                ));
            }
        }
    }
}

fn columns(input: syn::parse::ParseStream<'_>) -> Result<Vec<Ident>> {
    let columns = Punctuated::<Ident, Token![,]>::parse_terminated_with(input, Ident::parse_any)?;
    if columns.is_empty() {
        return Err(input.error("expected the name of a column"));
    }
    Ok(columns.into_iter().collect())
}

/// The table name that Diesel infers.
fn inferred_table(model: &Ident) -> Path {
    let mut table = String::new();
    for (position, letter) in model.unraw().to_string().char_indices() {
        if letter.is_uppercase() && position > 0 {
            table.push('_');
        }
        table.extend(letter.to_lowercase());
    }
    Ident::new(&(table + "s"), model.span()).into()
}

/// The place where a field declares that it is not a column. Some options contain types, so not all
/// options parse as [`Meta`].
fn select_expression(attribute: &Attribute) -> Option<Span> {
    let Meta::List(list) = &attribute.meta else {
        return None;
    };
    if !list.path.is_ident("diesel") {
        return None;
    }
    let mut options = list.tokens.clone().into_iter().peekable();
    while let Some(token) = options.next() {
        if let (TokenTree::Ident(name), Some(TokenTree::Punct(equals))) = (&token, options.peek()) {
            if name == "select_expression" && equals.as_char() == '=' {
                return Some(name.span());
            }
        }
    }
    None
}

/// The column that a field is loaded from, if this is clear.
fn column_of(field: &Field) -> Option<Ident> {
    let mut column = field.ident.clone();
    for attribute in field.attrs.iter().filter(|a| a.path().is_ident("diesel")) {
        let options = attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        for option in options.into_iter().flatten() {
            match &option {
                Meta::NameValue(pair) if pair.path.is_ident("column_name") => match &pair.value {
                    Expr::Path(name) => column = name.path.get_ident().cloned(),
                    _ => column = None,
                },
                other
                    if other.path().is_ident("embed")
                        || other.path().is_ident("select_expression") =>
                {
                    column = None;
                }
                _ => {}
            }
        }
    }
    column
}
