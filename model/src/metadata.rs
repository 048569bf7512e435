//! The options of a save and the metadata of a snapshot.

use std::collections::BTreeMap;

use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{ErrorCode, PersistError, Result};
use crate::time;

/// The format version that the component writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The codec that compresses the blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// gzip, readable everywhere; levels 1 to 9, 6 by default.
    #[default]
    Gzip,
    /// zstd, smaller and several times faster; levels -7 to 4 except 0, 4 by default.
    Zstd,
}

impl Codec {
    /// Returns the name in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the media type of a snapshot.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/gzip",
            Self::Zstd => "application/zstd",
        }
    }
}

/// The condition for a write or a delete to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// No condition.
    #[default]
    None,
    /// No object has the key.
    IfAbsent,
    /// The object has this etag.
    IfMatch(String),
}

/// The result of checking a snapshot's seal, a signature that covers every byte of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SealState {
    /// The snapshot has no seal.
    #[default]
    None,
    /// The seal is valid and by a trusted party.
    Checked,
    /// The seal was not checked.
    NotChecked,
    /// The seal is invalid.
    Wrong,
}

impl SealState {
    /// Returns the name in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Checked => "checked",
            Self::NotChecked => "not-checked",
            Self::Wrong => "wrong",
        }
    }
}

/// How an object is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// Not encrypted.
    #[default]
    None,
    /// As an age file.
    Age,
}

impl Encryption {
    /// Returns the name in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Age => "age",
        }
    }
}

/// Selects the snapshots of a listing. A snapshot has to match every field that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListFilter {
    /// The agent ID.
    pub agent_id: Option<String>,
    /// The session ID.
    pub session_id: Option<String>,
    /// Labels, all of which the snapshot must have.
    pub labels: BTreeMap<String, String>,
    /// The earliest time, inclusive: RFC 3339, with any offset.
    pub since: Option<String>,
    /// The latest time, exclusive: RFC 3339, with any offset.
    pub until: Option<String>,
}

crate::setters!(ListFilter {
    agent_id: impl Into<Option<String>>,
    session_id: impl Into<Option<String>>,
    labels: BTreeMap<String, String>,
    since: impl Into<Option<String>>,
    until: impl Into<Option<String>>,
});

impl ListFilter {
    /// Returns the filter with its times in stored form.
    ///
    /// # Errors
    /// `Configuration` for an invalid time.
    pub fn checked(mut self) -> Result<Self> {
        for (what, time) in [("since", &mut self.since), ("until", &mut self.until)] {
            if let Some(text) = time {
                let stored = time::parse(text).ok().and_then(time::stored);
                *time = Some(stored.ok_or_else(|| {
                    let message = format!("'{}' is not a valid RFC 3339 time for {what}", text.escape_debug());
                    PersistError::new(ErrorCode::InvalidArgument, message).hint("write it like 2026-01-31T12:00:00Z")
                })?);
            }
        }
        Ok(self)
    }

    /// Returns whether a snapshot matches. The filter must be [`checked`](Self::checked),
    /// since times are compared as text.
    pub fn wants(&self, metadata: &SnapshotMetadata) -> bool {
        self.agent_id.as_ref().is_none_or(|agent| *agent == metadata.agent_id)
            && self.session_id.as_ref().is_none_or(|session| *session == metadata.session_id)
            && self.labels.iter().all(|(name, value)| metadata.labels.get(name) == Some(value))
            && self.since.as_ref().is_none_or(|since| metadata.timestamp >= *since)
            && self.until.as_ref().is_none_or(|until| metadata.timestamp < *until)
    }
}

/// The options of a save: how to store the state, and its metadata. The metadata may have
/// at most 48,000 bytes of JSON in total.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotOptions {
    /// The agent that the state belongs to. The default is `default_agent`.
    pub agent_id: String,
    /// The conversation, run or thread of that agent. The default is `default_session`.
    pub session_id: String,
    /// The index of the snapshot in its session, at most 2^53 - 1.
    pub snapshot_index: u64,
    /// A note for people.
    pub description: Option<String>,
    /// Names and values to find the snapshot by.
    pub labels: BTreeMap<String, String>,
    /// The state's media type; `None` is `application/json`.
    pub content_type: Option<String>,
    /// Further metadata: the text of one JSON object.
    pub extra: Option<String>,
    /// The codec; `None` selects it by the extension of the key (`.zst` and `.zstd` are
    /// zstd).
    pub codec: Option<Codec>,
    /// The compression level; `None` is the codec's default.
    pub level: Option<i32>,
    /// A UUID; `None` creates one of version 7.
    pub snapshot_id: Option<String>,
    /// When it was taken, RFC 3339 with any offset; `None` is the current time.
    pub timestamp: Option<String>,
    /// The precondition of the write.
    pub precondition: Precondition,
    /// The state's size in bytes, if known. It is a hint and need not be right.
    pub size_hint: Option<u64>,
    /// Names and values that the storage keeps with the object.
    pub attributes: BTreeMap<String, String>,
}

crate::setters!(SnapshotOptions {
    agent_id: impl Into<String>,
    session_id: impl Into<String>,
    snapshot_index: u64,
    description: impl Into<Option<String>>,
    labels: BTreeMap<String, String>,
    content_type: impl Into<Option<String>>,
    extra: impl Into<Option<String>>,
    codec: impl Into<Option<Codec>>,
    level: impl Into<Option<i32>>,
    snapshot_id: impl Into<Option<String>>,
    timestamp: impl Into<Option<String>>,
    precondition: Precondition,
    size_hint: impl Into<Option<u64>>,
    attributes: BTreeMap<String, String>,
});

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self {
            agent_id: "default_agent".to_owned(),
            session_id: "default_session".to_owned(),
            snapshot_index: 0,
            description: None,
            labels: BTreeMap::new(),
            content_type: None,
            extra: None,
            codec: None,
            level: None,
            snapshot_id: None,
            timestamp: None,
            precondition: Precondition::None,
            size_hint: None,
            attributes: BTreeMap::new(),
        }
    }
}

/// The metadata of a snapshot, from the snapshot itself and from its storage. Serialises
/// as one flat object that includes the fields of `extra`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotMetadata {
    /// The object's key in its storage.
    pub key: String,
    /// The kind of object: `snapshot`.
    pub kind: String,
    /// A UUID, unique to this snapshot.
    pub snapshot_id: String,
    /// The agent that the state belongs to.
    pub agent_id: String,
    /// The conversation, run or thread of that agent.
    pub session_id: String,
    /// The index in its session.
    pub snapshot_index: u64,
    /// When it was taken: RFC 3339, in UTC, with microseconds.
    pub timestamp: String,
    /// A note for people.
    pub description: Option<String>,
    /// The labels, as names and values.
    pub labels: BTreeMap<String, String>,
    /// The state's media type.
    pub content_type: String,
    /// SHA-256 of the state, 64 hexadecimal digits.
    pub content_hash: String,
    /// The state's size in bytes.
    pub uncompressed_size: u64,
    /// The compressed data's size in bytes, without block table and metadata.
    pub compressed_size: u64,
    /// The codec.
    pub compression_algorithm: Codec,
    /// The format version.
    pub format_version: u32,
    /// The program that wrote it, as name and version.
    pub producer: String,
    /// Metadata with other names: the text of one JSON object.
    pub extra: String,
    /// The state of the seal.
    pub seal: SealState,
    /// How the object is encrypted.
    pub encryption: Encryption,
    /// SHA-256 over footer and metadata, 64 hexadecimal digits. It covers every byte of
    /// the snapshot except its seal, and is what a seal signs.
    pub root: String,
    /// SHA-256 over root and seal, 64 hexadecimal digits. It covers every byte of the
    /// snapshot.
    pub digest: String,
    /// The object's etag, if the storage has etags.
    pub etag: Option<String>,
    /// The object's total size in bytes.
    pub stored_size: u64,
}

crate::setters!(SnapshotMetadata { key: impl Into<String>, etag: impl Into<Option<String>> });

impl SnapshotMetadata {
    /// Returns how many times smaller the object is than the state: infinite if the
    /// object has no bytes, 0 for an empty state.
    pub fn ratio(&self) -> f64 {
        // A ratio of more than 2^53 bytes need not be exact.
        #[allow(clippy::cast_precision_loss)]
        let ratio = self.uncompressed_size as f64 / self.stored_size as f64;
        ratio
    }

    /// Returns the metadata together with the location of the snapshot.
    pub fn located<'a>(&'a self, location: &'a str) -> Located<'a> {
        Located { metadata: self, location }
    }

    fn serialize_with<S: Serializer>(&self, serializer: S, location: Option<&str>) -> std::result::Result<S::Ok, S::Error> {
        // Passed on as text, so that no number loses a digit.
        let mut extra: BTreeMap<String, &RawValue> = serde_json::from_str(&self.extra).map_err(S::Error::custom)?;
        let mut map = serializer.serialize_map(None)?;
        if let Some(location) = location {
            map.serialize_entry(LOCATION, location)?;
            extra.remove(LOCATION);
        }
        map.serialize_entry("key", &self.key)?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("snapshot_id", &self.snapshot_id)?;
        map.serialize_entry("agent_id", &self.agent_id)?;
        map.serialize_entry("session_id", &self.session_id)?;
        map.serialize_entry("snapshot_index", &self.snapshot_index)?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        map.serialize_entry("description", &self.description)?;
        map.serialize_entry("labels", &self.labels)?;
        map.serialize_entry("content_type", &self.content_type)?;
        map.serialize_entry("content_hash", &self.content_hash)?;
        map.serialize_entry("uncompressed_size", &self.uncompressed_size)?;
        map.serialize_entry("compressed_size", &self.compressed_size)?;
        map.serialize_entry("compression_algorithm", &self.compression_algorithm)?;
        map.serialize_entry("format_version", &self.format_version)?;
        map.serialize_entry("producer", &self.producer)?;
        map.serialize_entry("seal", &self.seal)?;
        map.serialize_entry("encryption", &self.encryption)?;
        map.serialize_entry("root", &self.root)?;
        map.serialize_entry("digest", &self.digest)?;
        map.serialize_entry("etag", &self.etag)?;
        map.serialize_entry("stored_size", &self.stored_size)?;
        for (name, value) in extra {
            map.serialize_entry(&name, value)?;
        }
        map.end()
    }
}

impl Serialize for SnapshotMetadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.serialize_with(serializer, None)
    }
}

/// The field of [`Located`] with the location.
const LOCATION: &str = "location";

/// Metadata and the location of its snapshot. Serialises as one flat object with the
/// field `location` first. A field of that name in `extra` is dropped, so that a snapshot
/// cannot claim to be elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Located<'a> {
    metadata: &'a SnapshotMetadata,
    location: &'a str,
}

impl Serialize for Located<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.metadata.serialize_with(serializer, Some(self.location))
    }
}

/// One object of a listing.
#[derive(Clone, Debug)]
pub enum ListEntry {
    /// A snapshot.
    Snapshot(Box<SnapshotMetadata>),
    /// An object that is not a snapshot (`NotASnapshot`), or a snapshot that cannot be
    /// read.
    Unreadable {
        /// The object's key.
        key: String,
        /// Why it cannot be read.
        error: PersistError,
    },
}

impl ListEntry {
    /// Returns the object's key.
    pub fn key(&self) -> &str {
        match self {
            Self::Snapshot(metadata) => &metadata.key,
            Self::Unreadable { key, .. } => key,
        }
    }
}
