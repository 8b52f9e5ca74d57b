//! The corpus, and what becomes of it by chance, without a nightly toolchain.

use proptest::test_runner::{RngAlgorithm, TestRng};

fn corpus() -> Vec<String> {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/relations");
    let files = std::fs::read_dir(corpus).unwrap();
    let statements = files.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok());
    let mut statements: Vec<_> = statements.collect();
    statements.sort();
    assert!(
        statements.len() > 50,
        "{} statements in {corpus}",
        statements.len()
    );
    statements
}

/// Of every statement that was ever found worth keeping, no table is missed.
#[test]
fn statements() {
    for statement in corpus() {
        threadline_fuzz::compare(&statement);
    }
}

/// Nor of parts of them that are put together at random. `MUTATIONS` says how often.
#[test]
fn mutations() {
    use proptest::prelude::Rng as _;

    const SNIPPETS: &[&str] = &[
        " FROM a",
        ", b",
        " JOIN c ON true",
        "(SELECT 1 FROM d)",
        " (",
        ")",
        "'",
        "\"",
        "$$",
        "$a$",
        "E'",
        "U&'",
        "U&\"",
        "/*",
        "*/",
        "--",
        "\n",
        "\\",
        "[",
        "]",
        ",",
        ".",
        " AS ",
        " WITH ",
        " TABLE e",
        " ONLY ",
        " LATERAL ",
        " ROWS FROM (f())",
        " IS DISTINCT",
        " FOR ",
        " VALUES (1)",
        " UNION ",
        " SELECT ",
        "::",
        "$1",
        "N'",
        "B'",
        "''",
        "\r",
        "é",
        " INTO ",
        " GROUP BY x, y",
        " WITHIN ",
        " ORDINALITY",
        " TIES",
        " TIME ZONE",
    ];
    let corpus = corpus();
    let times = std::env::var("MUTATIONS").map_or(30_000, |times| times.parse().unwrap());
    let mut random = TestRng::from_seed(RngAlgorithm::XorShift, &[7; 16]);
    let mut below = |end: usize| usize::try_from(random.next_u32()).unwrap() % end.max(1);
    for _ in 0..times {
        let mut text = corpus[below(corpus.len())].clone();
        for _ in 0..=below(3) {
            let boundary = |text: &str, mut at: usize| {
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                at
            };
            let at = boundary(&text, below(text.len() + 1));
            match below(4) {
                0 => text.insert_str(at, SNIPPETS[below(SNIPPETS.len())]),
                1 => {
                    let end = boundary(&text, (at + below(12)).min(text.len())).max(at);
                    text.replace_range(at..end, SNIPPETS[below(SNIPPETS.len())]);
                }
                2 => {
                    let end = boundary(&text, (at + below(30)).min(text.len())).max(at);
                    text.replace_range(at..end, "");
                }
                _ => {
                    let other = &corpus[below(corpus.len())];
                    let from = boundary(other, below(other.len() + 1));
                    text.truncate(at);
                    text.push_str(&other[from..]);
                }
            }
        }
        threadline_fuzz::compare(&text);
    }
}
