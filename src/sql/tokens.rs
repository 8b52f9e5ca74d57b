//! The tokens of a statement that Diesel rendered, including the caller's raw fragments.

use std::borrow::Cow;
use std::ops::Range;

/// A token of a statement. White space and comments are not tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) start: usize,
    /// Why PostgreSQL could split the text differently.
    pub(super) doubt: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string, bit string or number.
    Literal,
    /// `$1`
    Placeholder,
    /// `"name"`
    Quoted,
    /// Any other single character.
    Symbol,
    /// `U&"name"` or `U&'string'`, whose escapes are not decoded here.
    Unicode,
    /// A keyword or an unquoted name.
    Word,
}

impl<'a> Token<'a> {
    /// Returns the name that PostgreSQL reads here, if this token can be one.
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

    /// Whether a string on a later line would continue this one.
    fn is_string(&self) -> bool {
        self.text.ends_with('\'') && matches!(self.kind, Kind::Literal | Kind::Unicode)
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// Returns the number of a placeholder.
    pub(super) fn placeholder(&self) -> Option<u32> {
        (self.kind == Kind::Placeholder)
            .then(|| self.text[1..].parse().ok())
            .flatten()
    }
}

/// Splits a statement as PostgreSQL does, as far as no token is in doubt.
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut start = 0;
    while start < sql.len() {
        let rest = &sql[start..];
        let Lexeme {
            kind,
            length,
            mut doubt,
        } = first_lexeme(rest);
        if let Some(kind) = kind {
            let text = &rest[..length];
            if text.starts_with('\'') && tokens.last().is_some_and(Token::is_string) {
                doubt = Some("a string that goes on after a line break");
            }
            tokens.push(Token {
                kind,
                text,
                start,
                doubt,
            });
        }
        start += length;
    }
    tokens
}

/// Splits a statement as PostgreSQL does under any settings, or returns what PostgreSQL could split
/// differently.
pub(super) fn certain_tokens(sql: &str) -> Result<Vec<Token<'_>>, String> {
    let tokens = tokens(sql);
    match tokens.iter().find_map(|token| Some((token, token.doubt?))) {
        Some((token, doubt)) => {
            let beginning: String = token.text.chars().take(40).collect();
            Err(format!("it contains {doubt}, at `{beginning}`"))
        }
        None => Ok(tokens),
    }
}

/// The start of a text. `kind` is `None` for text to skip.
struct Lexeme {
    kind: Option<Kind>,
    length: usize,
    doubt: Option<&'static str>,
}

impl Lexeme {
    const fn new(kind: Kind, length: usize) -> Self {
        Self {
            kind: Some(kind),
            length,
            doubt: None,
        }
    }

    const fn skipped(length: usize) -> Self {
        Self {
            kind: None,
            length,
            doubt: None,
        }
    }

    const fn doubtful(kind: Kind, length: usize, doubt: &'static str) -> Self {
        Self {
            kind: Some(kind),
            length,
            doubt: Some(doubt),
        }
    }

    /// A prefix and a quoted run up to its closing quote.
    fn quoted(kind: Kind, rest: &str, prefix: usize, with_backslashes: bool) -> Self {
        quoted(&rest[prefix..], with_backslashes).map_or_else(
            || Self::doubtful(kind, rest.len(), "a quote without its end"),
            |length| Self::new(kind, prefix + length),
        )
    }

    /// A string in which a backslash escapes a quote if `standard_conforming_strings` is off.
    fn string(rest: &str, prefix: usize) -> Self {
        let mut string = Self::quoted(Kind::Literal, rest, prefix, false);
        if quoted(&rest[prefix..], false) != quoted(&rest[prefix..], true) {
            string.doubt = Some("a backslash before a quote (write the string as E'…')");
        }
        string
    }
}

/// Reads the first lexeme of `rest`, which is not empty.
fn first_lexeme(rest: &str) -> Lexeme {
    let first = rest.chars().next().unwrap_or_default();
    let second = rest[first.len_utf8()..].chars().next().unwrap_or_default();
    match (first, second) {
        ('-', '-') => Lexeme::skipped(rest.find(['\n', '\r']).unwrap_or(rest.len())),
        ('/', '*') => comment(rest).map_or_else(
            || Lexeme::doubtful(Kind::Symbol, rest.len(), "a comment without its end"),
            Lexeme::skipped,
        ),
        ('\'', _) => Lexeme::string(rest, 0),
        ('"', _) => Lexeme::quoted(Kind::Quoted, rest, 0, false),
        ('e' | 'E', '\'') => Lexeme::quoted(Kind::Literal, rest, 1, true),
        ('u' | 'U', '&') if rest[2..].starts_with('\'') => {
            Lexeme::quoted(Kind::Unicode, rest, 2, false)
        }
        ('u' | 'U', '&') if rest[2..].starts_with('"') => Lexeme {
            doubt: Some("a name with escapes"),
            ..Lexeme::quoted(Kind::Unicode, rest, 2, false)
        },
        ('b' | 'B' | 'x' | 'X', '\'') => Lexeme::quoted(Kind::Literal, rest, 1, false),
        ('n' | 'N', '\'') => Lexeme::string(rest, 1),
        ('$', '0'..='9') => Lexeme::new(
            Kind::Placeholder,
            1 + length_of(&rest[1..], |c| c.is_ascii_digit()),
        ),
        ('$', _) => dollar_quoted(rest),
        (c, _) if c.is_ascii_whitespace() || c == '\u{b}' => Lexeme::skipped(1),
        (c, _) if is_name_start(c) => Lexeme::new(Kind::Word, length_of(rest, is_name_part)),
        (c, _) if c.is_ascii_digit() => Lexeme::new(Kind::Literal, number(rest)),
        (c, _) => Lexeme::new(Kind::Symbol, c.len_utf8()),
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

/// Returns the length of a quoted run; `None` if it does not end. A doubled quote does not end it.
fn quoted(rest: &str, with_backslashes: bool) -> Option<usize> {
    let quote = rest.chars().next()?;
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((position, c)) = characters.next() {
        if c == '\\' && with_backslashes {
            characters.next();
        } else if c == quote && characters.next_if(|&(_, next)| next == quote).is_none() {
            return Some(position + 1);
        }
    }
    None
}

/// Returns the length of a number: digits with a point and an exponent. In older servers, a name
/// may follow immediately.
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

/// Reads `$$…$$` or `$tag$…$tag$`.
fn dollar_quoted(rest: &str) -> Lexeme {
    let name = length_of(&rest[1..], |c| is_name_part(c) && c != '$');
    if !rest[1 + name..].starts_with('$') {
        return Lexeme::doubtful(Kind::Symbol, 1, "a dollar sign alone");
    }
    let tag = &rest[..name + 2];
    match rest[tag.len()..].find(tag) {
        Some(end) => Lexeme::new(Kind::Literal, tag.len() + end + tag.len()),
        None => Lexeme::doubtful(Kind::Literal, rest.len(), "a quote without its end"),
    }
}

/// Returns the length of a comment; `None` if it does not end. Comments nest.
fn comment(rest: &str) -> Option<usize> {
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
                return Some(position);
            }
        } else {
            position += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        tokens(sql).into_iter().map(|token| token.text).collect()
    }

    /// Text inside a string, a comment or a quoted name is never a name of its own.
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
        assert_eq!(texts("a --b\rc E'd\n\\'' e"), ["a", "c", "E'd\n\\''", "e"]);
        assert_eq!(texts("a\u{a0}b"), ["a\u{a0}b"]);
        assert_eq!(texts("'open"), ["'open"]);
        assert_eq!(texts(r"'a\' b"), [r"'a\'", "b"]);
    }

    /// Text is in doubt if a setting, another line or a missing end could change its meaning.
    #[test]
    fn what_is_in_doubt() {
        for sql in [
            "'open",
            "\"open",
            "E'open\\'",
            "$$open",
            "$a$open$b$",
            "/* open /* */",
            r"'\' || x --'",
            r"N'\' || x --'",
            "'a'\n'b'",
            "E'a' -- c\n'\\' x'",
            "U&'a'\n'b'",
            r#"U&"a""#,
            r#"s.U&"a""#,
            "a $ b",
            "$é+$",
        ] {
            assert!(certain_tokens(sql).is_err(), "{sql}");
        }
        for sql in [
            r"'\d+' ~ E'\'' || U&'\0061' || $$'$$ || B'1' 'a'",
            r"'a''b' = 'c', 'd' /* ' */ -- '",
            r#""a" "b""#,
        ] {
            // `B'1' 'a'` is an error in PostgreSQL too.
            let sql = sql.replace(" 'a'", "");
            assert!(certain_tokens(&sql).is_ok(), "{sql}");
        }
    }

    /// Names compare as they do in PostgreSQL.
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
        /// No text is lost, and nothing panics, for any input.
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
