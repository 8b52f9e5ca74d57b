//! Filters as text, which people and programs send.

use std::num::NonZeroU16;

use chrono::{DateTime, Days, TimeDelta, Utc};

use super::filter::Filter;
use crate::context::ActorRef;
use crate::error::Error;
use crate::query::rows::cursor::in_postgres;

/// A key of the text filters of a query `Q`.
pub(super) struct Key<Q> {
    name: &'static str,
    /// What it is called where the query keeps it.
    kept_as: &'static str,
    /// What its values are, for the message that one is not.
    expected: &'static str,
    /// Sets what is kept under a name, unless the value is none.
    set: fn(&mut Q, &'static str, &str) -> Option<()>,
}

impl<Q: Params> Key<Q> {
    pub(super) fn actor(name: &'static str, kept_as: &'static str) -> Self {
        let expected = "an actor, like user:123 or anonymous";
        Self::new(name, kept_as, expected, |query, key, text| {
            let actor: ActorRef = text.parse().ok()?;
            query.filter_mut().set_actor(key, &actor);
            Some(())
        })
    }

    pub(super) fn before(set: fn(&mut Q, &'static str, &str) -> Option<()>) -> Self {
        Self::new("before", "before", "the cursor of a page", set)
    }

    pub(super) fn since() -> Self {
        Self::new("since", "since", TIME, |query, key, text| {
            let time = time(text).or_else(|| beginning(text))?;
            query.filter_mut().set_time(key, time);
            Some(())
        })
    }

    pub(super) fn id(name: &'static str, kept_as: &'static str) -> Self {
        Self::new(name, kept_as, "a UUID", |query, key, text| {
            let id: uuid::Uuid = text.parse().ok()?;
            query.filter_mut().set(key, id.to_string());
            Some(())
        })
    }

    pub(super) fn limit() -> Self {
        let expected = "a whole number from 1 to 65535";
        Self::new("limit", "limit", expected, |query, _, text| {
            let limit: NonZeroU16 = text.parse().ok()?;
            *query.limit_mut() = limit.get().into();
            Some(())
        })
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn new(
        name: &'static str,
        kept_as: &'static str,
        expected: &'static str,
        set: fn(&mut Q, &'static str, &str) -> Option<()>,
    ) -> Self {
        Self {
            name,
            kept_as,
            expected,
            set,
        }
    }

    pub(super) fn text(name: &'static str) -> Self {
        Self::new(name, name, TEXT, |query, key, text| {
            query.filter_mut().set(key, storable(text)?);
            Some(())
        })
    }

    pub(super) fn until() -> Self {
        Self::new("until", "until", TIME, |query, key, text| {
            let time = time(text).or_else(|| end(text))?;
            query.filter_mut().set_time(key, time);
            Some(())
        })
    }
}

pub(super) const TEXT: &str = "text without the character NUL";
const TIME: &str = "a time like 2026-11-24T09:30:00Z or a date like 2026-11-24";

/// A query with text filters.
pub(super) trait Params: Sized {
    fn filter_mut(&mut self) -> &mut Filter;

    fn limit_mut(&mut self) -> &mut i32;

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
            let Key {
                kept_as,
                expected,
                set,
                ..
            } = keys[n];
            if fixed[n] {
                wrong.push(format!("{name} cannot be chosen here"));
            } else if given[n] && !ADD_UP.contains(&name) {
                wrong.push(format!("{name} is there more than once"));
            } else if value.is_empty() {
                wrong.push(format!("{name} is empty: expected {expected}"));
            } else if set(&mut self, kept_as, value).is_none() {
                wrong.push(format!("{name} is {}: expected {expected}", shown(value)));
            }
            given[n] = true;
        }
        if unknown {
            let mut known: Vec<_> = keys.iter().map(|key| key.name).collect();
            known.sort_unstable();
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

pub(super) fn storable(text: &str) -> Option<&str> {
    (!text.contains('\0')).then_some(text)
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    in_postgres(time).then_some(time)
}

fn beginning(text: &str) -> Option<DateTime<Utc>> {
    time(&format!("{text}T00:00:00Z"))
}

fn end(text: &str) -> Option<DateTime<Utc>> {
    beginning(text)?
        .checked_add_days(Days::new(1))?
        .checked_sub_signed(TimeDelta::microseconds(1))
}
