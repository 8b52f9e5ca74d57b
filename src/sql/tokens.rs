//! The lexical structure of a statement that Diesel rendered, raw fragments of the caller included.

use std::borrow::Cow;
use std::ops::Range;

/// A piece of a statement. White space and comments are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string, bit string or number.
    Literal,
    /// `$1`
    Placeholder,
    /// `"name"`
    Quoted,
    /// A character that is none of the others.
    Symbol,
    /// `U&"name"` or `U&'string'`, whose escapes are not read here.
    Unicode,
    /// A keyword or a name without quotes.
    Word,
}

impl<'a> Token<'a> {
    /// The name that it is to PostgreSQL, if it can be one.
    pub(super) fn name(&self) -> Option<Cow<'a, str>> {
        match self.kind {
            Kind::Quoted => {
                let inner = &self.text[1..self.text.len() - 1];
                Some(inner.replace(r#""""#, r#"""#).into())
            }
            Kind::Word => Some(self.text.to_ascii_lowercase().into()),
            _ => None,
        }
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// The number of a placeholder.
    pub(super) fn placeholder(&self) -> Option<u32> {
        (self.kind == Kind::Placeholder)
            .then(|| self.text[1..].parse().ok())
            .flatten()
    }
}

/// Splits a statement as PostgreSQL does (with `standard_conforming_strings` on, its default).
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while start < sql.len() {
        let rest = &sql[start..];
        let (kind, length) = first_token(rest);
        if let Some(kind) = kind {
            let text = &rest[..length];
            tokens.push(Token { kind, text, start });
        }
        start += length;
    }
    tokens
}

/// The kind and length of what `rest`, which is not empty, begins with; no kind for what is to be skipped.
fn first_token(rest: &str) -> (Option<Kind>, usize) {
    let first = rest.chars().next().unwrap_or_default();
    let second = rest[first.len_utf8()..].chars().next().unwrap_or_default();
    match (first, second) {
        ('-', '-') => (None, rest.find(['\n', '\r']).unwrap_or(rest.len())),
        ('/', '*') => (None, comment(rest)),
        ('\'', _) => (Some(Kind::Literal), quoted(rest, '\'', false)),
        ('"', _) => (Some(Kind::Quoted), quoted(rest, '"', false)),
        ('e' | 'E', '\'') => (Some(Kind::Literal), escaped(rest)),
        ('u' | 'U', '&') if rest[2..].starts_with(['\'', '"']) => (
            Some(Kind::Unicode),
            2 + quoted(
                &rest[2..],
                if rest[2..].starts_with('"') {
                    '"'
                } else {
                    '\''
                },
                false,
            ),
        ),
        ('b' | 'B' | 'x' | 'X' | 'n' | 'N', '\'') => {
            (Some(Kind::Literal), 1 + quoted(&rest[1..], '\'', false))
        }
        ('$', '0'..='9') => (
            Some(Kind::Placeholder),
            1 + length_of(&rest[1..], |c| c.is_ascii_digit()),
        ),
        ('$', _) => match dollar_quoted(rest) {
            Some(length) => (Some(Kind::Literal), length),
            None => (Some(Kind::Symbol), 1),
        },
        (c, _) if c.is_ascii_whitespace() || c == '\u{b}' => (None, 1),
        (c, _) if is_name_start(c) => (Some(Kind::Word), length_of(rest, is_name_part)),
        (c, _) if c.is_ascii_digit() => (Some(Kind::Literal), number(rest)),
        (c, _) => (Some(Kind::Symbol), c.len_utf8()),
    }
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn is_name_part(c: char) -> bool {
    is_name_start(c) || c.is_ascii_digit() || c == '$'
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// The length of a quoted run, in which a doubled quote is none.
fn quoted(rest: &str, quote: char, with_backslashes: bool) -> usize {
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((position, c)) = characters.next() {
        if c == '\\' && with_backslashes {
            characters.next();
        } else if c == quote && characters.next_if(|&(_, next)| next == quote).is_none() {
            return position + 1;
        }
    }
    rest.len()
}

/// `E'…'`, and what goes on with it on the next lines: there, too, a backslash escapes a quote.
fn escaped(rest: &str) -> usize {
    let mut length = 1 + quoted(&rest[1..], '\'', true);
    loop {
        let blank = length_of(&rest[length..], |c| c.is_ascii_whitespace());
        let after = length + blank;
        if !rest[length..after].contains(['\n', '\r']) || !rest[after..].starts_with('\'') {
            return length;
        }
        length = after + quoted(&rest[after..], '\'', true);
    }
}

/// Digits with a point and an exponent. A name may follow at once, in older servers.
fn number(rest: &str) -> usize {
    let digits = |text: &str| length_of(text, |c| c.is_ascii_digit() || c == '_');
    let mut length = digits(rest);
    if rest[length..].starts_with('.') {
        length += 1 + digits(&rest[length + 1..]);
    }
    let exponent = &rest[length..];
    if let Some(power) = exponent.strip_prefix(['e', 'E']) {
        let sign = usize::from(power.starts_with(['+', '-']));
        let power = digits(&power[sign..]);
        if power > 0 {
            length += 1 + sign + power;
        }
    }
    length
}

/// `$$…$$` or `$tag$…$tag$`.
fn dollar_quoted(rest: &str) -> Option<usize> {
    let tag_end = 1 + rest[1..].find('$')?;
    let tag = &rest[..=tag_end];
    if !tag[1..tag_end].chars().all(|c| is_name_part(c) && c != '$') {
        return None;
    }
    let content = &rest[tag.len()..];
    Some(
        content
            .find(tag)
            .map_or(rest.len(), |end| tag.len() + end + tag.len()),
    )
}

/// Comments nest.
fn comment(rest: &str) -> usize {
    let (mut depth, mut position) = (0_usize, 0);
    while position < rest.len() {
        let here = &rest[position..];
        if here.starts_with("/*") {
            depth += 1;
            position += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            position += 2;
            if depth == 0 {
                break;
            }
        } else {
            position += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    position
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        tokens(sql).into_iter().map(|token| token.text).collect()
    }

    /// Whatever looks like a name inside of a string, a comment or another name is none.
    #[test]
    fn strings_comments_and_names() {
        assert_eq!(
            texts(
                r#"a.b -- "c" 'd'
                  /* e /* "f" */ g */ 'h''i' E'j\'k' $$l$$ $m$n $$ o$m$ "p""q" $12+3.5e0 U&'r' x$1"#
            ),
            [
                "a",
                ".",
                "b",
                "'h''i'",
                r"E'j\'k'",
                "$$l$$",
                "$m$n $$ o$m$",
                r#""p""q""#,
                "$12",
                "+",
                "3.5e0",
                "U&'r'",
                "x$1"
            ]
        );
        assert_eq!(
            texts("1FROM 1.5FROM 2e-7x 3.e"),
            ["1", "FROM", "1.5", "FROM", "2e-7", "x", "3.", "e"]
        );
        assert_eq!(
            texts("a --b\rc E'd'\n'\\'' e"),
            ["a", "c", "E'd'\n'\\''", "e"]
        );
        assert_eq!(texts("a\u{a0}b"), ["a\u{a0}b"]);
        assert_eq!(texts("'open"), ["'open"]);
        assert_eq!(texts(r"'a\' b"), [r"'a\'", "b"]);
    }

    /// Names compare as PostgreSQL compares them.
    #[test]
    fn names() {
        let names: Vec<_> = tokens(r#"Users "Users" "a""b" $1"#)
            .iter()
            .map(|token| token.name().map(Cow::into_owned))
            .collect();
        let expected = [Some("users"), Some("Users"), Some(r#"a"b"#), None];
        assert_eq!(names, expected.map(|name| name.map(str::to_owned)));
    }

    proptest! {
        /// Nothing is lost, and nothing panics, whatever the text.
        #[test]
        fn tokens_are_in_order(sql in "[a-z'\"$/*\\\\\n -;.0-9ä]{0,40}") {
            let mut end = 0;
            for token in tokens(&sql) {
                prop_assert!(token.start >= end);
                prop_assert_eq!(&sql[token.range()], token.text);
                end = token.range().end;
            }
            prop_assert!(end <= sql.len());
        }
    }
}
