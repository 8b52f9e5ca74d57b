use std::fmt::{self, Display, Write as _};

use serde_json::Value;
use threadline::ExportFormat;

/// Text with escapes for all that a terminal acts on or that nobody sees, ends of lines included.
pub(crate) struct Plain<'a, T: ?Sized>(&'a T);

pub(crate) fn plain<T: Display + ?Sized>(text: &T) -> Plain<'_, T> {
    Plain(text)
}

impl<T: Display + ?Sized> Display for Plain<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escape(&self.0.to_string(), |_| false))
    }
}

/// As Rust writes them, `\n` or `\u{202e}`, but for those that are ours.
pub(super) fn escape(text: &str, is_ours: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_ours(c) || !ExportFormat::is_hidden(c) {
            escaped.push(c);
        } else {
            let _ = write!(escaped, "{}", c.escape_default()); // a String takes all
        }
    }
    escaped
}

/// A JSON value as people read it: text without quotes, nothing for null.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
