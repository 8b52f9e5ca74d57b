//! The corpus, without a nightly toolchain.

/// Of every statement that was ever found worth keeping, no table is missed.
#[test]
fn corpus() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/relations");
    let mut statements = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        if let Ok(statement) = std::fs::read_to_string(file.unwrap().path()) {
            threadline_fuzz::compare(&statement);
            statements += 1;
        }
    }
    assert!(statements > 50, "{statements} statements in {corpus}");
}
