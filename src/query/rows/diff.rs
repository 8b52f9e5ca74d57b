use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::Jsonb;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::json::{jsonb, readable};

/// What a change did to each column, ordered by column name, under the present names of the
/// columns.
///
/// - *insert*: every column, with the value [`after`](ColumnDiff::after).
/// - *update*: the columns that changed, with both values.
/// - *delete* and *truncate*: every column, with the value [`before`](ColumnDiff::before).
///
/// Excluded columns are not in the audit log, and therefore not in the diff.
///
/// A value that Rust cannot read as JSON (nested deeper than 128 levels, or with a number beyond
/// the range of `f64`) appears as its text. [`Value`] stores a number as an `f64` and keeps only 15
/// digits. The text and the JSON of a `Diff` loaded from the audit log keep all digits, as does
/// [`ColumnDiff::before_json`].
///
/// The text of a `Diff` is a single line for human readers; its JSON is a list:
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::prelude::*;
///
/// # diesel::table! { users { id -> Integer, name -> Text, email -> Text, address -> Jsonb } }
/// #[derive(Queryable, Selectable, Audited)]
/// #[audited(mask(email))]
/// struct User { id: i32, name: String, email: String, address: serde_json::Value }
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL, email text NOT NULL, address jsonb NOT NULL)").execute(&mut conn)?;
/// # diesel::sql_query(r#"INSERT INTO users VALUES (7, 'Ada', 'ada@example.com', '{"city": "Turin", "zip": "10121"}')"#).execute(&mut conn)?;
/// # threadline::capture::install(&mut conn, &[User::audit_spec()])?;
/// # diesel::sql_query(r#"UPDATE users SET name = 'Ada Lovelace', email = 'al@example.com', address = '{"city": "London", "zip": "10121"}'"#).execute(&mut conn)?;
/// let version: Version<User> = User::history(7).first(&mut conn)?;
/// assert_eq!(
///     version.diff.to_string(),
///     r#"address: {"city":"Turin","zip":"10121"} → {"city":"London","zip":"10121"}, email: (masked), name: "Ada" → "Ada Lovelace""#,
/// );
/// assert_eq!(serde_json::to_value(&version.diff[2])?, serde_json::json!({"column": "name", "before": "Ada", "after": "Ada Lovelace"}));
///
/// let inside = version.diff[0].paths();
/// assert_eq!((inside.len(), inside[0].path.as_str()), (1, "/city"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, AsExpression, FromSqlRow)]
#[diesel(sql_type = Jsonb)]
#[serde(transparent)]
pub struct Diff(Vec<ColumnDiff>);

/// What a change did to one column.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct ColumnDiff {
    /// The name of the column.
    pub column: String,
    /// The value before the change, as JSON; `None` if the row did not exist, or did not have the
    /// column.
    #[serde(default, deserialize_with = "present")]
    pub before: Option<Value>,
    /// The value after the change, as JSON; `None` if the row no longer exists, or does not have
    /// the column.
    #[serde(default, deserialize_with = "present")]
    pub after: Option<Value>,
    /// Whether the column is masked. The values are then placeholders, and only the fact that the
    /// column changed is known.
    #[serde(default)]
    pub masked: bool,
    /// The exact JSON of the two values, where [`Value`] would write it differently.
    #[serde(skip)]
    exact: [Option<String>; 2],
}

/// A [`ColumnDiff`] as PostgreSQL writes it.
#[derive(Deserialize)]
struct Recorded<'a> {
    column: String,
    #[serde(default, borrow, deserialize_with = "present_raw")]
    before: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present_raw")]
    after: Option<&'a RawValue>,
    #[serde(default)]
    masked: bool,
}

impl From<Recorded<'_>> for ColumnDiff {
    fn from(recorded: Recorded<'_>) -> Self {
        let value = |raw: Option<&RawValue>| raw.map(|raw| readable(raw, 0));
        let (before, after) = (value(recorded.before), value(recorded.after));
        let exact = |raw: Option<&RawValue>, value: &Option<Value>| {
            // A value that Rust cannot read is already represented by its text.
            let (raw, value) = (raw?, value.as_ref()?);
            let json = serde_json::from_str::<Value>(raw.get())
                .ok()
                .map(|_| exact_json(raw))?;
            let rounded = value.to_string();
            (json != rounded).then_some(json)
        };
        Self {
            exact: [
                exact(recorded.before, &before),
                exact(recorded.after, &after),
            ],
            column: recorded.column,
            before,
            after,
            masked: recorded.masked,
        }
    }
}

/// A value in the format of [`Value`], but with all digits of its numbers.
fn exact_json(raw: &RawValue) -> String {
    let text = raw.get();
    if let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
        let members = members.into_iter();
        let members: Vec<_> = members
            .map(|(key, member)| format!("{}:{}", Value::String(key), exact_json(member)))
            .collect();
        format!("{{{}}}", members.join(","))
    } else if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text) {
        let elements: Vec<_> = elements.into_iter().map(exact_json).collect();
        format!("[{}]", elements.join(","))
    } else {
        serde_json::from_str::<String>(text)
            .map_or_else(|_| text.to_owned(), |text| Value::String(text).to_string())
    }
}

/// Keeps all digits of numbers, which only works with `serde_json`.
impl Serialize for ColumnDiff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("column", &self.column)?;
        let sides = [("before", &self.before), ("after", &self.after)];
        for ((name, value), exact) in sides.into_iter().zip(&self.exact) {
            let exact = exact.as_deref();
            if let Some(json) = exact.and_then(|json| serde_json::from_str::<&RawValue>(json).ok())
            {
                map.serialize_entry(name, json)?;
            } else if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        if self.masked {
            map.serialize_entry("masked", &true)?;
        }
        map.end()
    }
}

/// A change at one place inside a JSON value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PathDiff {
    /// The place, as a JSON Pointer (RFC 6901): `/address/city`, `/tags/0`; empty for the whole
    /// value.
    pub path: String,
    /// The value there before the change; `None` if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value there after the change; `None` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl Deref for Diff {
    type Target = [ColumnDiff];

    fn deref(&self) -> &[ColumnDiff] {
        &self.0
    }
}

impl ColumnDiff {
    /// Returns the JSON of [`before`](Self::before) as PostgreSQL writes it, with all digits of a
    /// `numeric`.
    pub fn before_json(&self) -> Option<Cow<'_, str>> {
        self.json(0, self.before.as_ref())
    }

    /// Returns the JSON of [`after`](Self::after) as PostgreSQL writes it, with all digits of a
    /// `numeric`.
    pub fn after_json(&self) -> Option<Cow<'_, str>> {
        self.json(1, self.after.as_ref())
    }

    fn json(&self, side: usize, value: Option<&Value>) -> Option<Cow<'_, str>> {
        let exact = self.exact.get(side).and_then(Option::as_deref);
        exact
            .map(Cow::Borrowed)
            .or_else(|| value.map(|value| Cow::Owned(value.to_string())))
    }

    /// Returns the places inside the value that changed. Objects are compared by key and arrays by
    /// position, as long as both sides are of the same kind. For all other values, the only place
    /// is the whole value.
    pub fn paths(&self) -> Vec<PathDiff> {
        let mut places = Vec::new();
        compare("", self.before.as_ref(), self.after.as_ref(), &mut places);
        places
    }
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, places: &mut Vec<PathDiff>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            let mut keys: Vec<_> = before.keys().chain(added).collect();
            keys.sort_unstable();
            for key in keys {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                let path = format!("{path}/{escaped}");
                compare(&path, before.get(key), after.get(key), places);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for n in 0..before.len().max(after.len()) {
                compare(&format!("{path}/{n}"), before.get(n), after.get(n), places);
            }
        }
        (before, after) => places.push(PathDiff {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

/// Writes `name: "Ada" → "Ada Lovelace", email: (masked)`. For a row that was created or removed,
/// `name: "Ada"`.
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, column) in self.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{column}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ColumnDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.column)?;
        match (self.before_json(), self.after_json()) {
            _ if self.masked => f.write_str("(masked)"),
            (Some(before), Some(after)) => write!(f, "{before} → {after}"),
            (Some(value), None) | (None, Some(value)) => write!(f, "{value}"),
            (None, None) => f.write_str("(unknown)"),
        }
    }
}

impl FromSql<Jsonb, Pg> for Diff {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let columns: Vec<Recorded<'_>> = serde_json::from_slice(jsonb(&value)?)?;
        Ok(Self(columns.into_iter().map(ColumnDiff::from).collect()))
    }
}

/// A JSON null is a value; only a missing key means that there is none.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

fn present_raw<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(before: Value, after: Value) -> Vec<(String, Option<Value>, Option<Value>)> {
        let column = ColumnDiff {
            column: "f".to_owned(),
            before: Some(before),
            after: Some(after),
            masked: false,
            exact: [None, None],
        };
        let places = column.paths().into_iter();
        places.map(|p| (p.path, p.before, p.after)).collect()
    }

    /// Only differences are listed, in the order of keys and positions. A null differs from a
    /// missing value.
    #[test]
    fn places_inside() {
        assert_eq!(paths(json!({"a": 1}), json!({"a": 1})), []);
        assert_eq!(
            paths(
                json!({"b": {"x": [1, 2]}, "c": null, "z~/": 1}),
                json!({"a": null, "b": {"x": [1, 3, 4]}, "z~/": 2})
            ),
            [
                ("/a".to_owned(), None, Some(json!(null))),
                ("/b/x/1".to_owned(), Some(json!(2)), Some(json!(3))),
                ("/b/x/2".to_owned(), None, Some(json!(4))),
                ("/c".to_owned(), Some(json!(null)), None),
                ("/z~0~1".to_owned(), Some(json!(1)), Some(json!(2))),
            ]
        );
        assert_eq!(
            paths(json!([1]), json!({"0": 1})),
            [(String::new(), Some(json!([1])), Some(json!({"0": 1})))]
        );
        assert_eq!(
            paths(json!("a"), json!(null)),
            [(String::new(), Some(json!("a")), Some(json!(null)))]
        );
    }

    /// The JSON of PostgreSQL survives a round trip, nulls included.
    #[test]
    fn json() {
        let json = json!([
            {"column": "a", "before": null, "after": 1},
            {"column": "b", "after": null},
            {"column": "c", "before": "[REDACTED]", "after": "[REDACTED]", "masked": true},
        ]);
        let diff: Diff = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(diff[0].before, Some(Value::Null));
        assert_eq!(
            (&diff[1].before, &diff[1].after),
            (&None, &Some(Value::Null))
        );
        assert_eq!(serde_json::to_value(&diff).unwrap(), json);
        assert_eq!(diff.to_string(), "a: null → 1, b: null, c: (masked)");
    }

    /// Text and JSON keep all digits of a number. Strings that look like numbers stay strings.
    #[test]
    fn digits() {
        let json = r#"[{"column":"a","before":50.0000,"after":1234567890123456.7891},{"column":"b","after":{"x":[1.10],"a":null}},{"column":"c","after":"1.10"}]"#;
        let recorded: Vec<Recorded<'_>> = serde_json::from_str(json).unwrap();
        let diff = Diff(recorded.into_iter().map(ColumnDiff::from).collect());
        assert_eq!(
            diff.to_string(),
            r#"a: 50.0000 → 1234567890123456.7891, b: {"a":null,"x":[1.10]}, c: "1.10""#
        );
        assert_eq!(
            serde_json::to_string(&diff).unwrap(),
            json.replace(r#""x":[1.10],"a":null"#, r#""a":null,"x":[1.10]"#)
        );
        assert_eq!(diff[0].before_json().as_deref(), Some("50.0000"));
        assert_eq!(diff[0].before, Some(json!(50.0)));
        assert_eq!(diff[2].after_json().as_deref(), Some("\"1.10\""));
    }
}
