//! What can go wrong while a server or a database is made ready.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why there is no database, in words for the person who runs the tests.
///
/// It holds a message and nothing else, as a test can only show it.
#[derive(Clone)]
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

/// The same, for people read what `unwrap` and a `main` that fails print.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// What all tests of a process share. The first of them says why there is none, and the others say no more than that:
/// nobody reads the same advice a hundred times.
pub(crate) struct Shared<T> {
    result: OnceLock<Result<T>>,
    is_told: AtomicBool,
}

impl<T> Shared<T> {
    pub(crate) const fn new() -> Self {
        Self {
            result: OnceLock::new(),
            is_told: AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self, make: impl FnOnce() -> Result<T>) -> Result<&T> {
        self.result.get_or_init(make).as_ref().map_err(|error| {
            if self.is_told.swap(true, Ordering::Relaxed) {
                let first = error.0.lines().next().unwrap_or_default();
                Error::new(format!("{first} (the first failure says more)"))
            } else {
                error.clone()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `unwrap` and a `main` that fails show the lines of a message as lines.
    #[test]
    fn debug_is_for_people() {
        assert_eq!(format!("{:?}", Error::new("one\ntwo")), "one\ntwo");
    }

    /// The first who meets an error gets all of its words.
    #[test]
    fn tells_once() {
        let shared: Shared<()> = Shared::new();
        let told = || shared.get(|| Err(Error::new("one\ntwo"))).unwrap_err();
        assert_eq!(told().to_string(), "one\ntwo");
        assert_eq!(told().to_string(), "one (the first failure says more)");
    }
}
