use std::fmt::Write as _;
use std::io::{self, Write};

use sha2::{Digest, Sha256};

pub(super) fn hex(hash: Sha256) -> String {
    let mut digits = String::new();
    for byte in hash.finalize() {
        let _ = write!(digits, "{byte:02x}"); // a String takes all
    }
    digits
}

pub(super) struct Hashed(pub(super) Sha256);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
