use std::fmt;

/// A PostgreSQL string literal that is correct for any value of `standard_conforming_strings`.
pub(crate) struct Literal<'a>(pub(crate) &'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = self.0.replace('\'', "''");
        if quoted.contains('\\') {
            write!(f, " E'{}'", quoted.replace('\\', "\\\\"))
        } else {
            write!(f, "'{quoted}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Literal;

    /// Quotes and backslashes cannot end a literal.
    #[test]
    fn literals_are_quoted() {
        assert_eq!(Literal("plain").to_string(), "'plain'");
        assert_eq!(Literal("O'Hara").to_string(), "'O''Hara'");
        assert_eq!(Literal(r"\'; --").to_string(), r" E'\\''; --'");
    }
}
