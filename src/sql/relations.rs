//! Finds the tables that a statement reads.

use std::ops::Range;

use super::tokens::{Kind, Token, certain_tokens};

/// A table at a place where the statement names it to read from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    /// The name of the table, preceded by its schema if the statement gives one.
    pub(crate) path: Vec<String>,
    pub(crate) range: Range<usize>,
}

/// The contents of a pair of parentheses, or of the whole statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// A part of a `FROM`.
    FromItem,
    /// An expression or a list.
    Other,
    /// A `SELECT`, and whether the scan is inside its `FROM`.
    Query { in_from: bool },
}

/// Finds every table that is read. Returns an error for SQL that it does not understand, because a
/// table that it missed would be read in the present.
pub(crate) fn relations(sql: &str) -> Result<Vec<Relation>, String> {
    let tokens = certain_tokens(sql)?;
    let mut found = Vec::new();
    let mut frames = vec![Frame::Query { in_from: false }];
    let mut brackets = Vec::new();
    let mut expected = false;
    let mut next = 0;
    while let Some(token) = tokens.get(next) {
        let before = &tokens[..next];
        next += 1;
        let top = frames.len() - 1;
        match token.kind {
            Kind::Symbol if token.text == "(" => {
                frames.push(if expected {
                    Frame::FromItem
                } else {
                    Frame::Other
                });
            }
            Kind::Symbol if token.text == ")" => {
                if top == 0 || brackets.last() == Some(&top) {
                    return Err("its parentheses do not match".to_owned());
                }
                frames.pop();
                expected = false;
            }
            // In a subscript or an array, a comma does not belong to `FROM`.
            Kind::Symbol if token.text == "[" => {
                brackets.push(frames.len());
                frames.push(Frame::Other);
                expected = false;
            }
            Kind::Symbol if token.text == "]" => {
                if brackets.pop() != Some(top) {
                    return Err("its brackets do not match".to_owned());
                }
                frames.pop();
                expected = false;
            }
            Kind::Symbol if token.text == "," => {
                expected = matches!(frames[top], Frame::Query { in_from: true });
            }
            Kind::Word if expected && is_rows_from(token, &tokens[next..]) => {
                frames.push(Frame::Other);
                next += 2;
                expected = false;
            }
            Kind::Word if !is_label(before) && is_keyword(token, &tokens[next..]) => {
                match token.text.to_ascii_uppercase().as_str() {
                    "FOR" if is_lock(tokens.get(next)) => {
                        return Err(
                            "it locks rows, and those of the past cannot be locked".to_owned()
                        );
                    }
                    "FROM" if frames[top] != Frame::Other && !is_comparison(before) => {
                        frames[top] = Frame::Query { in_from: true };
                        expected = true;
                    }
                    "JOIN" | "TABLE" => expected = true,
                    "INTO" => return Err("it writes a table".to_owned()),
                    "SELECT" => {
                        frames[top] = Frame::Query { in_from: false };
                        expected = false;
                    }
                    "VALUES" => expected = false,
                    "FOR" | "FROM" | "LATERAL" | "ONLY" => {}
                    "GROUP" if before.last().is_some_and(|token| token.is_word("WITHIN")) => {}
                    "WITH" => {
                        return Err("a fragment has a WITH of its own, whose names could be those of tables".to_owned());
                    }
                    _ => {
                        if let Frame::Query { in_from } = &mut frames[top] {
                            *in_from = false;
                        }
                    }
                }
            }
            Kind::Quoted | Kind::Word if expected => {
                let (relation, after) = path(&tokens, next - 1)?;
                next = after;
                expected = false;
                // A function call is not a table; what the function reads is not checked.
                if !tokens.get(next).is_some_and(|token| token.is_symbol("(")) {
                    found.push(relation);
                }
            }
            _ if expected => {
                return Err(format!("what stands at `{}` is no table", token.text));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// After a dot or `AS`, a keyword is a name, and so is `AS` itself.
fn is_label(before: &[Token<'_>]) -> bool {
    match before {
        [rest @ .., last] if last.is_word("AS") => !is_label(rest),
        [.., last] => last.is_symbol("."),
        [] => false,
    }
}

/// Whether this is `ROWS FROM (f(…), g(…))`, which names functions.
fn is_rows_from(token: &Token<'_>, after: &[Token<'_>]) -> bool {
    token.is_word("ROWS")
        && matches!(after, [from, open, ..] if from.is_word("FROM") && open.is_symbol("("))
}

/// Whether this word begins or ends a part of a query. `VALUES` without a parenthesis is a name,
/// and so is `WITH`, except at the start of common table expressions.
fn is_keyword(token: &Token<'_>, after: &[Token<'_>]) -> bool {
    const KEYWORDS: [&str; 19] = [
        "EXCEPT",
        "FETCH",
        "FOR",
        "FROM",
        "GROUP",
        "HAVING",
        "INTERSECT",
        "INTO",
        "JOIN",
        "LATERAL",
        "LIMIT",
        "OFFSET",
        "ONLY",
        "ORDER",
        "SELECT",
        "TABLE",
        "UNION",
        "WHERE",
        "WINDOW",
    ];
    KEYWORDS.iter().any(|word| token.is_word(word))
        || token.is_word("VALUES") && after.first().is_some_and(|next| next.is_symbol("("))
        || token.is_word("WITH")
            && after.first().is_some_and(|next| next.name().is_some())
            && !is_other_with(after)
}

/// Whether this `WITH` does not begin common table expressions. Of the words that can follow it,
/// only `UNIQUE` and `ARRAY` cannot be the name of one.
fn is_other_with(after: &[Token<'_>]) -> bool {
    const WRAPPERS: [&str; 4] = ["ARRAY", "CONDITIONAL", "UNCONDITIONAL", "WRAPPER"];
    let is_one_of = |words: &[&str], position: usize| {
        let token: Option<&Token<'_>> = after.get(position);
        token.is_some_and(|token| words.iter().any(|word| token.is_word(word)))
    };
    let is_named = after.get(1).is_some_and(|next| next.is_symbol("("))
        || is_one_of(&["AS"], 1)
            && after.get(2).is_some_and(|next| {
                next.is_symbol("(") || next.is_word("MATERIALIZED") || next.is_word("NOT")
            });
    is_one_of(&["UNIQUE"], 0)
        || is_one_of(&["TIME"], 0) && is_one_of(&["ZONE"], 1)
        || is_one_of(&WRAPPERS, 0) && !is_named
        || is_one_of(&["ORDINALITY", "TIES"], 0) && !is_named
}

/// Whether this is `FOR UPDATE`, `FOR NO KEY UPDATE`, `FOR SHARE` or `FOR KEY SHARE`, and not
/// `substring(a FOR 2)`.
fn is_lock(after_for: Option<&Token<'_>>) -> bool {
    after_for.is_some_and(|token| {
        ["KEY", "NO", "SHARE", "UPDATE"]
            .iter()
            .any(|word| token.is_word(word))
    })
}

/// Whether this is `IS [NOT] DISTINCT FROM`, where `IS` is not the name of a column.
fn is_comparison(before_from: &[Token<'_>]) -> bool {
    let [rest @ .., distinct] = before_from else {
        return false;
    };
    let is = match rest {
        [rest @ .., not] if not.is_word("NOT") => rest,
        _ => rest,
    };
    distinct.is_word("DISTINCT")
        && matches!(is, [before_is @ .., is] if is.is_word("IS") && !is_label(before_is))
}

/// Reads the name at `first`. Also returns the position after it.
fn path(tokens: &[Token<'_>], first: usize) -> Result<(Relation, usize), String> {
    let mut path = Vec::new();
    let mut next = first;
    while let Some(name) = tokens.get(next).and_then(Token::name) {
        if tokens[next].kind == Kind::Word && name.chars().any(char::is_uppercase) {
            // In some encodings, the server would fold such a letter to lower case.
            return Err(format!("it names the table {name} without quotes"));
        }
        path.push(name.into_owned());
        next += 1;
        if !tokens.get(next).is_some_and(|token| token.is_symbol(".")) {
            break;
        }
        next += 1;
        if tokens.get(next).and_then(Token::name).is_none() {
            return Err(format!("no name follows `{}.`", path.join(".")));
        }
    }
    let range = tokens[first].start..tokens[next - 1].range().end;
    if path.len() > 2 {
        return Err(format!("`{}` names another database", path.join(".")));
    }
    Ok((Relation { path, range }, next))
}

#[cfg(test)]
mod tests {
    use super::relations;

    fn names(sql: &str) -> Vec<String> {
        let found = relations(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
        found
            .into_iter()
            .map(|relation| relation.path.join("."))
            .collect()
    }

    /// Every table is found, at any place where a query can read one.
    #[test]
    fn tables_are_found() {
        for (sql, expected) in [
            (r#"SELECT "a"."x" FROM "a" WHERE "a"."x" = $1"#, "a"),
            (
                r#"SELECT 1 FROM (("a" INNER JOIN "b" ON ("a"."x" = "b"."x")) LEFT OUTER JOIN "s"."c" ON (true))"#,
                "a b s.c",
            ),
            (
                r#"SELECT 1 FROM "a" AS "one", ONLY B two, LATERAL (SELECT 1 FROM c, d WHERE true) AS x, e"#,
                "a b c d e",
            ),
            (
                r"(SELECT x FROM a) UNION ALL (SELECT x FROM b ORDER BY y, z) EXCEPT TABLE c",
                "a b c",
            ),
            (
                r#"SELECT EXISTS (SELECT 1 FROM "a" GROUP BY x, y), (SELECT max(x) FROM b), x IN (TABLE c) FROM d"#,
                "a b c d",
            ),
            (
                r"SELECT extract(year FROM at), substring(x FROM 1 FOR 2), trim(BOTH FROM y) FROM a",
                "a",
            ),
            (
                r"SELECT x IS DISTINCT FROM y, x IS NOT DISTINCT FROM z, 1 AS from, a.select FROM a",
                "a",
            ),
            (
                r"SELECT 1 FROM a WHERE EXISTS (SELECT extract(day FROM (SELECT at FROM b)))",
                "a b",
            ),
            (
                r"SELECT 1 FROM generate_series(1, 2) AS g, a JOIN unnest($1) AS u ON true, b",
                "a b",
            ),
            (
                r"SELECT 1 FROM (VALUES (1), (2)) AS v, a CROSS JOIN LATERAL f(a.x), b",
                "a b",
            ),
            (
                r#"SELECT ' FROM x', "FROM y", $$ FROM z $$ /* FROM u */ FROM a -- , v"#,
                "a",
            ),
            (
                r#"SELECT "t"."x" FROM "odd ""name" AS "t" JOIN "From"."Select" USING (x, y) WHERE 1 IN (1, 2)"#,
                r#"odd "name From.Select"#,
            ),
            ("SELECT name, 1 AS as FROM a, b", "a b"),
            ("SELECT c.as FROM a c, b", "a b"),
            (
                "SELECT (c).as FROM a c JOIN values AS v ON true",
                "a values",
            ),
            ("SELECT x.is distinct FROM a x", "a"),
            (
                "SELECT 1 FROM a JOIN b ON mode() WITHIN GROUP (ORDER BY x) > 1, c",
                "a b c",
            ),
            (
                "SELECT 1 FROM f() WITH ORDINALITY AS f, a WHERE now() = timestamp with time zone 'x'",
                "a",
            ),
            ("SELECT 1 -- note\rFROM a", "a"),
            ("SELECT 1FROM a, b", "a b"),
            (r"SELECT 1", ""),
            (
                "SELECT 1 FROM ROWS FROM (f(1, 2), g((SELECT x FROM a))) AS r (x, y), b JOIN ROWS FROM (h()) ON true, rows",
                "a b rows",
            ),
            (
                "SELECT x IS JSON OBJECT WITH UNIQUE KEYS, JSON_QUERY(x, '$' WITH CONDITIONAL ARRAY WRAPPER) FROM a WHERE x IS JSON WITH UNIQUE",
                "a",
            ),
            (
                "SELECT 1 FROM a JOIN b ON a.x = ANY (ARRAY[a.y, b.z]) AND a.v[1:2] = '{}', c",
                "a b c",
            ),
            (
                r"SELECT E'it\'s' || $a$ FROM x $a$ || U&'\0061' FROM a WHERE b ~ '\d+'",
                "a",
            ),
        ] {
            assert_eq!(names(sql).join(" "), expected, "{sql}");
        }
    }

    /// A query that cannot be read as of the past, or cannot be understood, is an error.
    #[test]
    fn what_is_refused() {
        for sql in [
            "SELECT 1 FROM a FOR UPDATE",
            "SELECT 1 FROM a FOR NO KEY UPDATE SKIP LOCKED",
            "SELECT 1 FROM a FOR SHARE OF a",
            "SELECT (SELECT 1 FROM a FOR KEY SHARE)",
            "SELECT 1 FROM other.public.a",
            "SELECT 1 FROM $1",
            "SELECT 1) FROM a",
            r#"SELECT 1 FROM U&"\0061""#,
            "SELECT (WITH b AS (SELECT 1 FROM a) SELECT 1 FROM b)",
            "SELECT 1 FROM 'a'",
            r#"SELECT 1 FROM "shop".U&"orders""#,
            "SELECT E'a'\n-- note\n'\\' ' || max(item) FROM orders --'\n",
            r"SELECT '\'' || max(item) FROM orders --'",
            "SELECT 1 FROM ÄB",
            "SELECT 1 FROM a.",
            "SELECT x[1) FROM a",
            "SELECT (x[1)] FROM a",
            "SELECT * INTO b FROM a",
            "SELECT (WITH time AS (SELECT 1 FROM a) SELECT 1 FROM time)",
            "SELECT (WITH ordinality AS MATERIALIZED (SELECT 1 FROM a) SELECT 1 FROM ordinality)",
            "SELECT (WITH ties (x) AS (SELECT 1 FROM a) SELECT 1 FROM ties)",
        ] {
            assert!(relations(sql).is_err(), "{sql}");
        }
    }
}
