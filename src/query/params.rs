//! Filters as text, which people and programs send.

use chrono::{DateTime, Days, TimeDelta, Utc};

use super::cursor::in_postgres;
use crate::base::Error;
use crate::context::ActorRef;

/// A key of the text filters of a query `Q`.
pub(super) struct Key<Q> {
    pub(super) name: &'static str,
    /// What it is called where the query keeps it.
    pub(super) kept_as: &'static str,
    /// What its values are, for the message that one is not.
    pub(super) expected: &'static str,
    /// Sets it, unless the value is none.
    pub(super) set: fn(&mut Q, &str) -> Option<()>,
}

pub(super) const ACTOR: &str = "an actor, like user:123 or anonymous";
pub(super) const CURSOR: &str = "the cursor of a page";
pub(super) const ID: &str = "a UUID";
pub(super) const LIMIT: &str = "a whole number from 1 to 65535";
pub(super) const TEXT: &str = "text without the character NUL";
pub(super) const TIME: &str = "a time like 2026-11-24T09:30:00Z or a date like 2026-11-24";

/// A query with text filters.
pub(super) trait Params: Sized {
    /// In the order of their names.
    fn keys() -> Vec<Key<Self>>;

    /// Whether the query says this already.
    fn has(&self, kept_as: &str) -> bool;

    /// Reads all, and tells all that is wrong.
    fn read<K, V>(mut self, pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, Error>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let keys = Self::keys();
        let fixed: Vec<_> = keys.iter().map(|key| self.has(key.kept_as)).collect();
        let mut given = vec![false; keys.len()];
        let mut unknown = false;
        let mut wrong = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            let Some(n) = keys.iter().position(|key| key.name == name) else {
                wrong.push(format!("{} is unknown", shown(name)));
                unknown = true;
                continue;
            };
            let Key { expected, set, .. } = keys[n];
            if fixed[n] {
                wrong.push(format!("{name} cannot be chosen here"));
            } else if given[n] && !ADD_UP.contains(&name) {
                wrong.push(format!("{name} is there more than once"));
            } else if value.is_empty() {
                wrong.push(format!("{name} is empty: expected {expected}"));
            } else if set(&mut self, value).is_none() {
                wrong.push(format!("{name} is {}: expected {expected}", shown(value)));
            }
            given[n] = true;
        }
        if unknown {
            let known: Vec<_> = keys.iter().map(|key| key.name).collect();
            wrong.push(format!("known are {}", known.join(", ")));
        }
        if wrong.is_empty() {
            Ok(self)
        } else {
            Err(Error::InvalidFilter(wrong.join("; ")))
        }
    }
}

/// Keys that may come several times.
const ADD_UP: [&str; 2] = ["op", "table"];

/// As a literal, and not at any length.
fn shown(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

pub(super) fn actor(text: &str) -> Option<ActorRef> {
    text.parse().ok()
}

pub(super) fn id(text: &str) -> Option<String> {
    let id: uuid::Uuid = text.parse().ok()?;
    Some(id.to_string())
}

pub(super) fn limit(text: &str) -> Option<i32> {
    let limit: u16 = text.parse().ok()?;
    (limit > 0).then_some(limit.into())
}

pub(super) fn plain(text: &str) -> Option<&str> {
    (!text.contains('\0')).then_some(text)
}

/// A time, or the beginning of a date.
pub(super) fn from(text: &str) -> Option<DateTime<Utc>> {
    time(text).or_else(|| beginning(text))
}

/// A time, or the end of a date.
pub(super) fn to(text: &str) -> Option<DateTime<Utc>> {
    let end = || {
        beginning(text)?
            .checked_add_days(Days::new(1))?
            .checked_sub_signed(TimeDelta::microseconds(1))
    };
    time(text).or_else(end)
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    in_postgres(time).then_some(time)
}

fn beginning(text: &str) -> Option<DateTime<Utc>> {
    time(&format!("{text}T00:00:00Z"))
}
