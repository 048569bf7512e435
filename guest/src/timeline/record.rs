//! The small objects beside the steps of a timeline. Each is one JSON object in a line,
//! padded with spaces, with a checksum over the text before it.
//!
//! A marker takes the place of a step that was removed. The end is claimed like a step by
//! whoever deletes the timeline. A gap takes the place of the first of several numbers whose
//! markers are gone. Each of these has a size of its own, and every step has more bytes, so a
//! listing tells them apart.

use persist_paths::timeline::{END_SIZE, GAP_SIZE, MARKER_SIZE};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorCode, Result};
use crate::hash::hex;
use crate::storage::{ByteRange, CHUNK, ObjectInfo, Precondition, Reader as _, Storage, WriteOptions, Writer as _, read_all};
use crate::timeline::names::MAX_NUMBER;

/// The most bytes of a record: a label has a name and a value.
pub(crate) const MAX_SIZE: u64 = 64 << 10;

/// How the checksum begins. What comes before is covered by it.
const CHECK: &str = ",\"check\":\"";

/// A small object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// In place of a step: the step had this root and snapshot ID.
    Removed { number: u64, root: String, id: String },
    /// The timeline was deleted. `root` is that of the step before; the ID is that of the
    /// deletion.
    End { number: u64, root: String, id: String },
    /// The step is hidden, because others still refer to it.
    Hidden { number: u64 },
    /// The numbers from `first` to `last` were removed.
    Gap { first: u64, last: u64 },
    /// A step that was the newest at some time, and its root.
    Head { number: u64, root: String },
    /// A label of a step; without a value, the label was taken away.
    Label { number: u64, name: String, value: Option<String> },
}

/// The JSON of a record. One type for all kinds takes a fraction of the code that one for
/// each would take.
#[derive(Default, Serialize, Deserialize)]
struct Fields {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

/// The first bytes of SHA-256, as text.
fn checksum(text: &str) -> String {
    hex(Sha256::digest(text).get(..8).unwrap_or_default())
}

impl Record {
    /// The size in bytes; only a label may have more.
    fn size(&self) -> u64 {
        match self {
            Self::End { .. } => END_SIZE,
            Self::Gap { .. } => GAP_SIZE,
            _ => MARKER_SIZE,
        }
    }

    fn fields(&self) -> Fields {
        let fields = |kind: &str| Fields { kind: kind.to_owned(), ..Fields::default() };
        let numbered = |kind, number: &u64| Fields { number: Some(*number), ..fields(kind) };
        match self {
            Self::Removed { number, root, id } => Fields { root: Some(root.clone()), id: Some(id.clone()), ..numbered("removed", number) },
            Self::End { number, root, id } => Fields { root: Some(root.clone()), id: Some(id.clone()), ..numbered("end", number) },
            Self::Hidden { number } => numbered("hidden", number),
            Self::Head { number, root } => Fields { root: Some(root.clone()), ..numbered("head", number) },
            Self::Gap { first, last } => Fields { first: Some(*first), last: Some(*last), ..fields("gap") },
            Self::Label { number, name, value } => Fields { name: Some(name.clone()), value: value.clone(), ..numbered("label", number) },
        }
    }

    fn from_fields(fields: Fields) -> Option<Self> {
        let Fields { kind, number, first, last, root, id, name, value } = fields;
        let is_number = |number: &u64| (1..=MAX_NUMBER).contains(number);
        if ![number, first, last].iter().flatten().all(is_number) || first > last {
            return None;
        }
        Some(match kind.as_str() {
            "removed" => Self::Removed { number: number?, root: root?, id: id? },
            "end" => Self::End { number: number?, root: root?, id: id? },
            "hidden" => Self::Hidden { number: number? },
            "head" => Self::Head { number: number?, root: root? },
            "gap" => Self::Gap { first: first?, last: last? },
            "label" => Self::Label { number: number?, name: name?, value },
            _ => return None,
        })
    }

    /// Returns the object's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_string(&self.fields()).unwrap_or_default();
        let text = json.strip_suffix('}').unwrap_or_default();
        let mut line = format!("{text}{CHECK}{}\"}}", checksum(text));
        while (line.len() as u64) < self.size() - 1 {
            line.push(' ');
        }
        line.push('\n');
        line.into_bytes()
    }

    /// Reads an object's bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = || Error::integrity("a record of the timeline was changed");
        let text = str::from_utf8(bytes).map_err(|_| wrong())?;
        let (covered, rest) = text.rsplit_once(CHECK).ok_or_else(wrong)?;
        let rest = rest.strip_prefix(checksum(covered).as_str()).ok_or_else(wrong)?;
        let padding = rest.strip_prefix("\"}").and_then(|rest| rest.strip_suffix('\n')).ok_or_else(wrong)?;
        if !padding.bytes().all(|byte| byte == b' ') {
            return Err(wrong());
        }
        let json = format!("{covered}}}");
        let not_valid = |what: &str| Error::format(format!("a record of the timeline is not valid: {what}"));
        let fields: Fields = serde_json::from_str(&json).map_err(|error| not_valid(&error.to_string()))?;
        let record = Self::from_fields(fields)
            .ok_or_else(|| not_valid("it is of an unknown kind, lacks a field, or has a number that no step can have"))?;
        // A record has one form, so every byte counts.
        if record.to_bytes() == bytes { Ok(record) } else { Err(wrong()) }
    }

    /// Returns the error of a reader that finds this record in place of a step.
    pub(crate) fn in_place_of(&self, step: u64) -> Error {
        match self {
            Self::Removed { number, .. } if *number == step => Error::new(ErrorCode::NotFound, format!("step {step} was removed")),
            Self::End { number, .. } if *number == step => Error::new(ErrorCode::NotFound, "the timeline was deleted"),
            Self::Gap { first, .. } if *first == step => Error::new(ErrorCode::NotFound, format!("step {step} was removed")),
            _ => Error::integrity(format!("there is a record of a different kind in place of step {step}")),
        }
    }

    /// Reads the record with this key.
    pub(crate) fn read<S: Storage>(storage: &S, key: &str) -> Result<(Self, ObjectInfo)> {
        let mut reader = storage.open_read(key, ByteRange::Suffix(MAX_SIZE), None)?;
        let info = reader.info();
        let bytes = read_all(&mut reader, usize::try_from(MAX_SIZE).unwrap_or(usize::MAX))?;
        let record = Self::parse(&bytes).map_err(|error| error.at(key))?;
        Ok((record, info))
    }

    /// Writes the record.
    pub(crate) fn write<S: Storage>(&self, storage: &S, key: &str, precondition: Precondition) -> Result<ObjectInfo> {
        write(storage, key, &self.to_bytes(), precondition, "application/json", Vec::new())
    }
}

/// Writes an object that is in memory.
pub(crate) fn write<S: Storage>(
    storage: &S,
    key: &str,
    bytes: &[u8],
    precondition: Precondition,
    content_type: &str,
    attributes: Vec<(String, String)>,
) -> Result<ObjectInfo> {
    let options =
        WriteOptions { precondition, object_size_hint: Some(bytes.len() as u64), content_type: Some(content_type.to_owned()), attributes };
    let mut writer = storage.open_write(key, options)?;
    for chunk in bytes.chunks(CHUNK) {
        writer.write(chunk)?;
    }
    writer.commit()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;

    fn records() -> Vec<Record> {
        let (root, id) = ("a".repeat(64), "01890a5d-ac96-774b-bcce-b302099a8057".to_owned());
        vec![
            Record::Removed { number: MAX_NUMBER, root: root.clone(), id: id.clone() },
            Record::End { number: MAX_NUMBER, root, id },
            Record::Hidden { number: 7 },
            Record::Gap { first: 1, last: MAX_NUMBER },
            Record::Head { number: MAX_NUMBER, root: "b".repeat(64) },
            Record::Label { number: 3, name: "a \"name\",\"check\":\"".to_owned(), value: Some("\u{e9}".repeat(300)) },
            Record::Label { number: 3, name: String::new(), value: None },
        ]
    }

    #[test]
    fn every_record_is_read_back() {
        for record in records() {
            let bytes = record.to_bytes();
            assert_eq!(Record::parse(&bytes).unwrap(), record);
            let is_label = matches!(record, Record::Label { .. });
            assert!(is_label || bytes.len() as u64 == record.size(), "{record:?} has {} bytes", bytes.len());
        }
    }

    #[test]
    fn every_bit_counts() {
        for record in records() {
            let bytes = record.to_bytes();
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Record::parse(&flipped).is_err(), "{record:?} bit {bit}");
            }
            for end in 0..bytes.len() {
                assert!(Record::parse(&bytes[..end]).is_err());
            }
        }
    }
}
