//! What is written down about a state, and what is known of a snapshot.

use std::collections::BTreeMap;

use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{ErrorCode, PersistError, Result};
use crate::time;

/// The format that the component writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Readable by everything; levels 1 to 9, 6 by default.
    Gzip,
    /// Smaller and several times as fast; levels -7 to 4 without 0, 4 by default.
    Zstd,
}

impl Codec {
    /// The name in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The media type of a whole snapshot.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/gzip",
            Self::Zstd => "application/zstd",
        }
    }
}

/// What must be true of a key for a write or a delete to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// No object has the key.
    IfAbsent,
    /// The object's etag is this one.
    IfMatch(String),
}

/// What became of the seal of a snapshot: a signature that stands for every byte
/// of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SealState {
    /// It has none.
    #[default]
    None,
    /// It is by somebody who is trusted.
    Checked,
    /// It has one that nobody looked at.
    NotChecked,
    /// It is not what it has to be.
    Wrong,
}

impl SealState {
    /// The name in metadata.
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
    /// Not at all.
    #[default]
    None,
    /// As an age file.
    Age,
}

impl Encryption {
    /// The name in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Age => "age",
        }
    }
}

/// Which snapshots a listing wants: those for which all that is set holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Of this agent.
    pub agent_id: Option<String>,
    /// Of this session.
    pub session_id: Option<String>,
    /// With all these labels.
    pub labels: BTreeMap<String, String>,
    /// Taken at this time or later: RFC 3339, with any offset.
    pub since: Option<String>,
    /// Taken before this time: RFC 3339, with any offset.
    pub until: Option<String>,
}

impl ListFilter {
    /// The same filter, whose times are in the form in which they are stored.
    ///
    /// # Errors
    /// `Configuration` for a time that is none.
    pub fn checked(mut self) -> Result<Self> {
        for (what, time) in [("since", &mut self.since), ("until", &mut self.until)] {
            if let Some(text) = time {
                let stored = time::parse(text).ok().and_then(time::stored);
                *time = Some(stored.ok_or_else(|| {
                    let message = format!("the time {what} '{}' is not RFC 3339", text.escape_debug());
                    PersistError::new(ErrorCode::InvalidArgument, message).hint("write it like 2026-01-31T12:00:00Z")
                })?);
            }
        }
        Ok(self)
    }

    /// Whether a snapshot is wanted by a filter that was [`checked`](Self::checked):
    /// stored times sort as text.
    pub fn wants(&self, metadata: &SnapshotMetadata) -> bool {
        self.agent_id.as_ref().is_none_or(|agent| *agent == metadata.agent_id)
            && self.session_id.as_ref().is_none_or(|session| *session == metadata.session_id)
            && self.labels.iter().all(|(name, value)| metadata.labels.get(name) == Some(value))
            && self.since.as_ref().is_none_or(|since| metadata.timestamp >= *since)
            && self.until.as_ref().is_none_or(|until| metadata.timestamp < *until)
    }
}

/// A part of a state that could not be salvaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hole {
    /// Where in the state the missing bytes belong, counted from 0.
    pub state_offset: u64,
    /// How many bytes are missing.
    pub length: u64,
    /// Where in the object they should be, counted from 0.
    pub object_offset: u64,
}

/// How a state is to be saved, and what is to be written down about it. The
/// metadata as a whole takes at most 48,000 bytes of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// Whose state it is; `default_agent` unless set.
    pub agent_id: String,
    /// Which conversation, run or thread of that agent; `default_session`
    /// unless set.
    pub session_id: String,
    /// The place of this snapshot in its session, at most 2^53 - 1.
    pub snapshot_index: u64,
    /// A note for people.
    pub description: Option<String>,
    /// Names and values to find it by.
    pub labels: BTreeMap<String, String>,
    /// The state's media type; `application/json` if none.
    pub content_type: Option<String>,
    /// Further metadata: the text of one JSON object.
    pub extra: Option<String>,
    /// The codec; by the ending of the key (`.zst` and `.zstd` are zstd) if none.
    pub codec: Option<Codec>,
    /// The codec's level; its default if none.
    pub level: Option<i32>,
    /// A UUID; a new version 7 one if none.
    pub snapshot_id: Option<String>,
    /// RFC 3339, with any offset; the current time if none.
    pub timestamp: Option<String>,
    /// What must be true of the key.
    pub precondition: Precondition,
    /// The state's size in bytes, if known; a hint that need not be right.
    pub size_hint: Option<u64>,
    /// Names and values for the storage to keep beside the object.
    pub attributes: BTreeMap<String, String>,
}

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

/// What a snapshot says of itself, and what the storage says of it. Serialises
/// as one flat object, with the fields of `extra` among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMetadata {
    /// The object's key in its storage.
    pub key: String,
    /// What the object is: `snapshot`.
    pub kind: String,
    /// A UUID, unique to this snapshot.
    pub snapshot_id: String,
    /// Whose state it is.
    pub agent_id: String,
    /// Which conversation, run or thread of that agent.
    pub session_id: String,
    /// The place in its session.
    pub snapshot_index: u64,
    /// When it was taken: RFC 3339, UTC, microseconds.
    pub timestamp: String,
    /// A note for people.
    pub description: Option<String>,
    /// Names and values.
    pub labels: BTreeMap<String, String>,
    /// The state's media type.
    pub content_type: String,
    /// SHA-256 of the state, 64 hexadecimal digits.
    pub content_hash: String,
    /// The state's size in bytes.
    pub uncompressed_size: u64,
    /// The compressed data's size in bytes, without table and metadata.
    pub compressed_size: u64,
    /// The codec.
    pub compression_algorithm: Codec,
    /// The format's number.
    pub format_version: u32,
    /// What wrote it, as name and version.
    pub producer: String,
    /// Metadata of other names: the text of one JSON object.
    pub extra: String,
    /// What became of the seal.
    pub seal: SealState,
    /// How the object is encrypted.
    pub encryption: Encryption,
    /// SHA-256 over footer and metadata, 64 hexadecimal digits: one text that
    /// stands for every byte of the snapshot but those of its seal. It is what a
    /// seal signs.
    pub root: String,
    /// SHA-256 over root and seal, 64 hexadecimal digits: it stands for every
    /// byte.
    pub digest: String,
    /// The object's etag, where the storage has one.
    pub etag: Option<String>,
    /// The object's whole size in bytes.
    pub stored_size: u64,
}

impl SnapshotMetadata {
    /// How many times smaller than the state the stored object is; infinite
    /// for no object, 0 for an empty state.
    pub fn ratio(&self) -> f64 {
        // Beyond 2^53 bytes a ratio need not be exact.
        #[allow(clippy::cast_precision_loss)]
        let ratio = self.uncompressed_size as f64 / self.stored_size as f64;
        ratio
    }

    /// The metadata with the location of the snapshot.
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

/// The field in which [`Located`] has the location.
const LOCATION: &str = "location";

/// Metadata and the location of its snapshot. Serialises as one flat object, with
/// the field `location` first. What a snapshot's `extra` has under that name is left
/// out: where it is, is not for a snapshot to say.
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
    /// Something else (`NotASnapshot`), or a snapshot that can't be read.
    Unreadable {
        /// Its key.
        key: String,
        /// Why.
        error: PersistError,
    },
}

impl ListEntry {
    /// The object's key.
    pub fn key(&self) -> &str {
        match self {
            Self::Snapshot(metadata) => &metadata.key,
            Self::Unreadable { key, .. } => key,
        }
    }
}
