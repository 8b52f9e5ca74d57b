use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::Jsonb;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// JSON from the audit log. Anyone can store JSON that Rust cannot read: nested deeper than 128
/// levels, or with a number beyond the range of `f64`. Such a value becomes its own text, so that
/// it does not hide the rest of the row, or other rows.
#[derive(Debug, Clone, FromSqlRow)]
pub struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromSql<Jsonb, Pg> for Json<T> {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(read(jsonb(&value)?)?))
    }
}

/// The JSON text of a `jsonb` value.
pub(super) fn jsonb<'a>(value: &'a PgValue<'_>) -> deserialize::Result<&'a [u8]> {
    match value.as_bytes() {
        [1, json @ ..] => Ok(json),
        _ => Err("an unknown version of the format of jsonb".into()),
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(json)
        .or_else(|_| serde_json::from_value(readable(serde_json::from_slice(json)?, 2)))
}

/// Reads a list of objects, or an object. Each member is either a complete value or its text.
pub(super) fn readable(json: &RawValue, levels: u8) -> Value {
    let text = json.get();
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    if levels == 2 {
        if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(text) {
            let elements = elements.into_iter();
            return elements.map(|element| readable(element, 1)).collect();
        }
    }
    if levels > 0 {
        if let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
            let members = members.into_iter();
            return members
                .map(|(key, member)| (key, readable(member, 0)))
                .collect();
        }
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Readable values are unchanged; an unreadable value becomes its text, and everything around
    /// it is unchanged.
    #[test]
    fn unreadable_values_are_text() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        let huge = "1".repeat(400);
        let json =
            format!(r#"[{{"column": "a", "before": {huge}, "after": {deep}}}, {{"column": "b"}}]"#);
        let value: Value = read(json.as_bytes()).unwrap();
        assert_eq!(
            value,
            json!([{"column": "a", "before": huge, "after": deep}, {"column": "b"}])
        );
        assert_eq!(
            read::<Value>(b"{\"a\": [1, null]}").unwrap(),
            json!({"a": [1, null]})
        );
        assert_eq!(
            read::<Value>(deep.as_bytes())
                .unwrap()
                .as_array()
                .map(Vec::len),
            Some(1)
        );
        assert!(read::<Value>(b"nonsense").is_err());
    }
}
