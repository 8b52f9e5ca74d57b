//! `#[needs(jq)]`, for tests that need a program which a developer's machine may lack.
//!
//! libtest cannot skip a test that runs already, so the programs are looked for when tests are built. This is a crate of
//! its own because attributes must be, and the library has no build script for the sake of its tests.

use proc_macro::{TokenStream, TokenTree};

/// Skips a test where one of these programs is missing: it is `ignored, needs jq`, and counted as such. In CI, where `CI`
/// is set, it runs, and fails. It stands above `#[test]`.
///
/// ```text
/// #[needs(jq, python3)]
/// #[test]
/// fn readers_agree() {}
/// ```
#[proc_macro_attribute]
pub fn needs(programs: TokenStream, test: TokenStream) -> TokenStream {
    let named: Vec<String> = programs
        .into_iter()
        .filter(|token| matches!(token, TokenTree::Ident(_)))
        .map(|name| name.to_string())
        .collect();
    let is_in = |list: &str, name: &String| list.split(' ').any(|listed| listed == name);
    if let Some(unknown) = named.iter().find(|name| !is_in(env!("PROGRAMS"), name)) {
        return attribute(&format!(
            "compile_error!(\"tests/needs/build.rs does not look for {unknown}\");"
        ));
    }
    if !is_test(test.clone()) {
        return attribute("compile_error!(\"#[needs] stands above #[test]\");");
    }
    let missing: Vec<_> = named
        .into_iter()
        .filter(|name| is_in(env!("MISSING"), name))
        .collect();
    if missing.is_empty() {
        return test;
    }
    let mut ignored = attribute(&format!("#[ignore = \"needs {}\"]", missing.join(" and ")));
    ignored.extend(test);
    ignored
}

fn attribute(text: &str) -> TokenStream {
    text.parse().expect("these are tokens of Rust")
}

/// Whether one of the attributes is `#[test]`, `#[tokio::test]` or the like. One that stood above has gone to work already.
fn is_test(item: TokenStream) -> bool {
    item.into_iter().any(|token| match token {
        TokenTree::Group(attribute) => attribute
            .stream()
            .into_iter()
            .any(|token| token.to_string() == "test"),
        _ => false,
    })
}
