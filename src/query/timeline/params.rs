//! Filters given as text, by people and by programs.

use std::num::NonZeroU16;
use std::str::FromStr;

use chrono::{DateTime, Days, TimeDelta, Utc};

use super::page::Page;
use crate::context::ActorRef;
use crate::error::Error;
use crate::query::rows::cursor::in_postgres;

/// A key of the text filters, for a query whose pages start after a `C`.
pub(super) struct Key<C> {
    name: &'static str,
    /// The name of the filter in the page.
    kept_as: &'static str,
    /// A description of valid values, for error messages.
    expected: &'static str,
    /// Sets the filter with this name; `None` if the text is invalid.
    set: fn(&mut Page<C>, &'static str, &str) -> Option<()>,
}

impl<C: FromStr> Key<C> {
    pub(super) fn actor(name: &'static str, kept_as: &'static str) -> Self {
        let expected = "an actor, like user:123 or anonymous";
        Self::new(name, kept_as, expected, |page, key, text| {
            let actor: ActorRef = text.parse().ok()?;
            page.filter.set_actor(key, &actor);
            Some(())
        })
    }

    pub(super) fn before() -> Self {
        let expected = "the cursor of a page";
        Self::new("before", "before", expected, |page, _, text| {
            page.before(text.parse().ok()?);
            Some(())
        })
    }

    pub(super) fn since() -> Self {
        Self::new("since", "since", TIME, |page, _, text| {
            page.since(time(text).or_else(|| beginning(text))?);
            Some(())
        })
    }

    pub(super) fn id(name: &'static str, kept_as: &'static str) -> Self {
        Self::new(name, kept_as, "a UUID", |page, key, text| {
            let id: uuid::Uuid = text.parse().ok()?;
            page.filter.set(key, id.to_string());
            Some(())
        })
    }

    pub(super) fn limit() -> Self {
        let expected = "a whole number from 1 to 65535";
        Self::new("limit", "limit", expected, |page, _, text| {
            let limit: NonZeroU16 = text.parse().ok()?;
            page.limit(limit.get());
            Some(())
        })
    }

    pub(super) fn op() -> Self {
        let expected = "delete, insert, snapshot, truncate or update";
        Self::new("op", "ops", expected, |page, _, text| {
            page.op(text.parse().ok()?);
            Some(())
        })
    }

    pub(super) fn table() -> Self {
        Self::new("table", "tables", TEXT, |page, _, text| {
            page.table_named(storable(text)?);
            Some(())
        })
    }

    pub(super) fn text(name: &'static str) -> Self {
        Self::new(name, name, TEXT, |page, key, text| {
            page.filter.set(key, storable(text)?);
            Some(())
        })
    }

    pub(super) fn until() -> Self {
        Self::new("until", "until", TIME, |page, _, text| {
            page.until(time(text).or_else(|| end(text))?);
            Some(())
        })
    }

    fn new(
        name: &'static str,
        kept_as: &'static str,
        expected: &'static str,
        set: fn(&mut Page<C>, &'static str, &str) -> Option<()>,
    ) -> Self {
        Self {
            name,
            kept_as,
            expected,
            set,
        }
    }
}

const TEXT: &str = "text without the character NUL";
const TIME: &str = "a time like 2026-11-24T09:30:00Z or a date like 2026-11-24";

/// Defines the method `params` for a query with a `page`, and `keys` for that method.
macro_rules! params {
    ($(#[$doc:meta])+) => {
        $(#[$doc])+
        pub fn params<K, V>(mut self, pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, Error>
        where
            K: AsRef<str>,
            V: AsRef<str>,
        {
            self.page.read(&Self::keys(), pairs)?;
            Ok(self)
        }
    };
}

pub(super) use params;

impl<C> Page<C> {
    fn has(&self, key: &str) -> bool {
        match key {
            "before" => self.before.is_some(),
            key => self.filter.has(key),
        }
    }

    /// Reads all pairs, and reports every mistake in them.
    pub(super) fn read<K, V>(
        &mut self,
        keys: &[Key<C>],
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), Error>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
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
            } else if set(self, kept_as, value).is_none() {
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
            Ok(())
        } else {
            Err(Error::InvalidFilter(wrong.join("; ")))
        }
    }
}

/// The keys that may occur several times.
const ADD_UP: [&str; 2] = ["op", "table"];

/// A text as a quoted literal, shortened to a readable length.
fn shown(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn storable(text: &str) -> Option<&str> {
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
