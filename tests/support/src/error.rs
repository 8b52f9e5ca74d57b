//! What can go wrong while a server or a database is made ready.

use std::fmt;

/// Why there is no database, in words for the person who runs the tests.
///
/// It holds a message and nothing else: a test can only show it, and every test of a process that
/// has no server shows the same one.
#[derive(Clone, Debug)]
pub struct Error(String);

/// The result of everything in this crate that can fail.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// For `map_err`: says what was being done when `source` happened.
    pub(crate) fn while_doing<E: fmt::Display>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self(format!("cannot {doing}: {source}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
