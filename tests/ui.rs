//! What the compiler says to a wrong model or query: part of the interface.
//!
//! The texts are those of the toolchain that CI pins. `TRYBUILD=overwrite cargo test --test ui` writes them anew.

#[test]
fn compile_errors() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
