use std::fmt;
use std::str::FromStr;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
#[non_exhaustive]
pub enum Op {
    /// It was deleted, or its primary key changed and this is the end of the old one.
    Delete,
    /// It was inserted, or its primary key changed and this is the beginning of the new one.
    Insert,
    /// It was there before capture began, and a baseline recorded it as it was then: nothing happened to it.
    Snapshot,
    /// It was removed by `TRUNCATE`.
    Truncate,
    /// It was updated.
    Update,
}

impl Op {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Insert => "insert",
            Self::Snapshot => "snapshot",
            Self::Truncate => "truncate",
            Self::Update => "update",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [
            Self::Delete,
            Self::Insert,
            Self::Snapshot,
            Self::Truncate,
            Self::Update,
        ]
        .into_iter()
        .find(|op| op.as_str() == word)
        .ok_or_else(|| format!("`{word}` is not delete, insert, snapshot, truncate or update"))
    }
}

impl FromSql<Text, Pg> for Op {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(<String as FromSql<Text, Pg>>::from_sql(value)?.parse::<Self>()?)
    }
}

impl ToSql<Text, Pg> for Op {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <str as ToSql<Text, Pg>>::to_sql(self.as_str(), out)
    }
}
