//! JSON objects that have unique names and keep their values digit by digit.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Error, Result, quoted};

/// Reads JSON from bytes. As text: the reader for bytes would be there a second time.
pub(crate) fn from_bytes<T: DeserializeOwned>(json: &[u8]) -> std::result::Result<T, serde_json::Error> {
    let text = std::str::from_utf8(json).map_err(|_| serde_json::Error::custom("it is not UTF-8"))?;
    serde_json::from_str(text)
}

/// A JSON object that keeps its order and refuses a name that occurs twice.
#[derive(Clone, Debug)]
pub(super) struct Unique<V>(pub(super) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct UniqueVisitor<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut names = std::collections::HashSet::new();
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, V>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("a name is not unique: '{name}'")));
                    }
                    fields.push((name, value));
                }
                Ok(Unique(fields))
            }
        }

        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

impl<V: Serialize> Serialize for Unique<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Unique<Box<RawValue>> {
    /// Removes a field and returns its value, if there is one.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(index) = self.0.iter().position(|(found, _)| found == name) else { return Ok(None) };
        let (_, value) = self.0.remove(index);
        serde_json::from_str(value.get())
            .map(Some)
            .map_err(|error| Error::format(format!("the metadata's '{name}' is not valid: {}", quoted(error))))
    }

    /// Removes a field, which must exist, and returns its value.
    pub(super) fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T> {
        self.take(name)?.ok_or_else(|| Error::format(format!("the metadata has no '{name}'")))
    }
}

/// Checks that other JSON readers can read a value that is only passed on. Raw text may
/// be nested deeper, or hold larger numbers, than they accept.
pub(super) fn check_value(name: &str, value: &RawValue) -> std::result::Result<(), String> {
    serde_json::from_str::<serde_json::Value>(value.get())
        .map(drop)
        .map_err(|error| format!("the metadata '{}' can't be read: {}", quoted(name), quoted(error)))
}

/// Removes the white space between the tokens of JSON, and keeps the digits of its
/// numbers.
pub(super) fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |character: &char| {
        let space = !in_string && character.is_ascii_whitespace();
        if *character == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = *character == '\\' && !escaped;
        !space
    };
    json.chars().filter(keep).collect()
}
