use std::io::{self, IsTerminal, Stdout, Write};

use super::plain::escape;

/// Standard output for programs: they get each byte, and a terminal gets escapes for what it would act on.
pub(crate) struct Exact {
    out: Stdout,
    /// What a terminal has not got yet: the beginning of a character, or of the end of a line.
    rest: Option<Vec<u8>>,
}

pub(crate) fn exact() -> Exact {
    let out = io::stdout();
    let rest = out.is_terminal().then(Vec::new);
    Exact { out, rest }
}

impl Write for Exact {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(rest) = &mut self.rest else {
            return self.out.write(bytes);
        };
        rest.extend(bytes);
        let text = escaped(rest, false);
        self.out.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(rest) = &mut self.rest {
            let text = escaped(rest, true);
            self.out.write_all(text.as_bytes())?;
        }
        self.out.flush()
    }
}

impl Drop for Exact {
    fn drop(&mut self) {
        // Whoever wants to know flushes it.
        let _ = self.flush();
    }
}

/// Takes what is complete, or all of it.
fn escaped(bytes: &mut Vec<u8>, all: bool) -> String {
    let mut text = String::new();
    let mut rest = Vec::new();
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        let is_last = chunks.peek().is_none();
        let mut valid = chunk.valid();
        if is_last && !all && chunk.invalid().is_empty() && valid.ends_with('\r') {
            valid = &valid[..valid.len() - 1];
            rest.push(b'\r');
        }
        let valid = valid.replace("\r\n", "\n");
        text.push_str(&escape(&valid, |c| matches!(c, '\n' | '\t')));
        // A character of four bytes has not come as a whole with three.
        if is_last && !all && is_beginning(chunk.invalid()) {
            rest.extend(chunk.invalid());
        } else {
            text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
        }
    }
    *bytes = rest;
    text
}

fn is_beginning(invalid: &[u8]) -> bool {
    std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::escaped;

    /// Where bytes are cut does not matter.
    #[test]
    fn cut() {
        let bytes = "a\r\nb\rc\u{1b}[2K\u{202e}é日本\u{1f600}\t\r\n".as_bytes();
        let bytes = [bytes, b"\xffx\xe6"].concat();
        let wanted = "a\nb\\rc\\u{1b}[2K\\u{202e}é日本\u{1f600}\t\n\\xffx\\xe6";
        for size in 1..bytes.len() {
            let mut rest = Vec::new();
            let mut text = String::new();
            for piece in bytes.chunks(size) {
                rest.extend(piece);
                text += &escaped(&mut rest, false);
            }
            text += &escaped(&mut rest, true);
            assert_eq!(text, wanted, "in pieces of {size}");
        }
    }
}
