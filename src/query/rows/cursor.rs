use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// The position of an entry in a timeline. Its text is opaque, and can be stored and sent to
/// clients.
///
/// # Example
///
/// ```
/// use threadline::TimelineCursor;
///
/// # fn next(text: &str) -> Result<threadline::Timeline, threadline::Error> {
/// let cursor: TimelineCursor = text.parse()?;      // what a client sent back
/// let page = threadline::timeline().before(cursor);
/// # Ok(page)
/// # }
/// # assert!(next("nonsense").is_err() && next("1700000000000000-42").is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimelineCursor {
    pub(crate) captured_at: DateTime<Utc>,
    pub(crate) id: i64,
}

impl TimelineCursor {
    /// Returns the time the change was captured.
    pub fn captured_at(self) -> DateTime<Utc> {
        self.captured_at
    }

    /// Returns the id of the change.
    pub fn id(self) -> i64 {
        self.id
    }
}

/// Serializes the cursor as its text.
impl Serialize for TimelineCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimelineCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for TimelineCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.captured_at.timestamp_micros(), self.id)
    }
}

impl FromStr for TimelineCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.split_once('-').and_then(|(time, id)| {
            let captured_at = DateTime::from_timestamp_micros(time.parse().ok()?)?;
            Some(Self {
                captured_at,
                id: id.parse().ok()?,
            })
        });
        parts
            .filter(|cursor| in_postgres(cursor.captured_at))
            .ok_or_else(|| Error::InvalidFilter(format!("{text:?} is no cursor of a timeline")))
    }
}

/// Whether PostgreSQL can read this time in the format used here. It has no year 0, and writes
/// longer years differently.
pub(crate) fn in_postgres(time: DateTime<Utc>) -> bool {
    (1..=9999).contains(&time.year())
}

macro_rules! id_cursors {
    ($($(#[$doc:meta])* $name:ident of $what:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) uuid::Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                text.parse().map(Self).map_err(|_| {
                    Error::InvalidFilter(format!(concat!("{:?} is no cursor of ", $what), text))
                })
            }
        }
    )+};
}

id_cursors! {
    /// A position in the list of [`actions`](crate::actions()). Its text is opaque, and can be
    /// stored and sent to clients.
    ActionCursor of "actions";
    /// A position in the list of [`transactions`](crate::transactions()). Its text is opaque, and
    /// can be stored and sent to clients.
    TransactionCursor of "transactions";
}
