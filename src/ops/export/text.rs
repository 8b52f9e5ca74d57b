use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde_json::ser::Formatter;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Whether a terminal interprets this character or shows nothing for it: control characters,
/// changes of text direction, line separators, zero-width characters, and code points that Unicode
/// does not assign.
pub(super) fn is_hidden(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // Marks, letters and symbols that are blank.
        '\u{34f}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}' => true,
        _ => matches!(
            c.general_category(),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
                | GeneralCategory::PrivateUse
                | GeneralCategory::Surrogate
                | GeneralCategory::Unassigned
        ),
    }
}

/// JSON with escapes for hidden characters. JSON readers treat an escape as the character itself.
pub(super) fn visible_json(json: &str) -> Cow<'_, str> {
    // ASCII control characters are whitespace between values here: in strings, they are already
    // escaped.
    if json.bytes().all(|byte| byte < 0x7f && byte != b'\r') {
        return json.into();
    }
    let mut visible = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' | '\t' => visible.push(c),
            '\r' => visible.push(' '),
            hidden if is_hidden(hidden) => {
                for unit in hidden.encode_utf16(&mut [0; 2]) {
                    let _ = write!(visible, "\\u{unit:04x}"); // a String takes all
                }
            }
            visible_char => visible.push(visible_char),
        }
    }
    visible.into()
}

/// A formatter that writes the output of [`visible_json`].
pub(super) struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        writer.write_all(visible_json(fragment).as_bytes())
    }

    fn write_raw_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        writer.write_all(visible_json(fragment).as_bytes())
    }
}

/// A CSV cell that holds JSON. In JSON, a semicolon can only occur in a string.
pub(super) fn json_cell(json: &str) -> Cow<'_, str> {
    let visible = visible_json(json);
    if visible.contains(';') {
        return visible.replace(';', r"\u003b").into();
    }
    visible
}

/// A CSV cell that holds text, which no spreadsheet executes, wherever it splits the cell. An
/// existing quote at such a place is doubled, so that the change can be undone: remove one quote at
/// the beginning, and one after each character that splits.
pub(super) fn text_cell(text: &str) -> Cow<'_, str> {
    let starts = text.match_indices(SPLITS).map(|(at, _)| at + 1);
    let quoted: Vec<_> = std::iter::once(0)
        .chain(starts)
        .filter(|&start| has_to_be_quoted(&text[start..]))
        .collect();
    if quoted.is_empty() {
        return text.into();
    }
    let mut cell = String::with_capacity(text.len() + quoted.len());
    let mut copied = 0;
    for start in quoted {
        cell.push_str(&text[copied..start]);
        cell.push('\'');
        copied = start;
    }
    cell.push_str(&text[copied..]);
    cell.into()
}

/// Characters at which a spreadsheet may split a cell. Each is one byte long.
const SPLITS: [char; 4] = [';', '\t', '\r', '\n'];

const FORMULAS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

fn has_to_be_quoted(text: &str) -> bool {
    let shown = text.trim_start_matches(|c: char| c.is_whitespace() || is_hidden(c));
    text.starts_with(['\'', '\t', '\r', '\n']) || shown.starts_with(FORMULAS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Undoes [`text_cell`] in the way that it documents.
    fn undone(cell: &str) -> String {
        let mut text = String::new();
        let mut is_start = true;
        for c in cell.chars() {
            if !(is_start && c == '\'') {
                text.push(c);
            }
            is_start = SPLITS.contains(&c);
        }
        text
    }

    /// No part of a cell begins like a formula, even after blank characters, and the original text
    /// can be recovered.
    #[test]
    fn formulas() {
        for blank in [
            "", " ", "\t", "\r", "\n", "\u{a0}", "\u{3000}", "\u{feff}", "\u{200b}", " \t ",
        ] {
            for formula in FORMULAS {
                for before in ["", "a;", "a\t", "a\r\n", "'", "a;'"] {
                    let text = format!("{before}{blank}{formula}HYPERLINK(1)");
                    let cell = text_cell(&text);
                    assert_eq!(undone(&cell), text);
                    for part in cell.split(SPLITS) {
                        assert!(
                            !part.trim_start().starts_with(FORMULAS),
                            "{text:?}: {cell:?}"
                        );
                    }
                    assert!(!cell.starts_with(['\t', '\r', '\n']), "{cell:?}");
                }
            }
        }
        for harmless in ["", "users", "a=b", "a-b c", "it's", "über", "a;b"] {
            assert!(matches!(text_cell(harmless), Cow::Borrowed(text) if text == harmless));
        }
    }

    /// Escapes do not change the meaning of JSON.
    #[test]
    fn json() {
        let text =
            "é\u{7f}\u{9b}\u{202e}\u{2066}\u{61c}\u{2028}\u{200b}\u{feff}\u{e0041}\u{fdd0}日本";
        let json = serde_json::to_string(text).unwrap();
        for visible in [visible_json(&json), json_cell(&json)] {
            assert!(!visible.chars().any(is_hidden), "{visible}");
            assert!(visible.contains("é\\u007f\\u009b\\u202e") && visible.contains("日本"));
            assert_eq!(serde_json::from_str::<String>(&visible).unwrap(), text);
        }
        let spaced = visible_json("[1,\r\n2]");
        assert_eq!(spaced, "[1, \n2]");
    }
}
