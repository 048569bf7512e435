//! The JSON document that holds the metadata in the file.

use std::collections::BTreeMap;

use persist_model::FORMAT_VERSION;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::json::{Unique, check_value, compact, from_bytes};
use super::packed::{is_packed, unpack};
use super::timestamp::stored_time;
use crate::codec::Codec;
use crate::error::{Error, ErrorCode, Result, quoted};
use crate::footer::Footer;
use crate::hash::{hex, is_hex_hash};
use crate::limits::{MAX_BLOCK_SIZE, MAX_INDEX, MAX_METADATA};
use crate::storage::ObjectInfo;

/// The kind of object that a document without `kind` describes.
const SNAPSHOT: &str = "snapshot";

/// The names of the standard metadata, which extra metadata can't have. Readers add
/// those from `key` on; a file can't have them either.
pub(super) const STANDARD: [&str; 22] = [
    "snapshot_id",
    "agent_id",
    "session_id",
    "snapshot_index",
    "timestamp",
    "description",
    "labels",
    "content_type",
    "content_hash",
    "uncompressed_size",
    "compressed_size",
    "compression_algorithm",
    "format_version",
    "producer",
    "key",
    "root",
    "digest",
    "etag",
    "stored_size",
    "kind",
    "seal",
    "encryption",
];

/// The metadata of a snapshot, from the file and from the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The object's key.
    pub key: String,
    /// The kind of object.
    pub kind: String,
    /// A UUID, unique to this snapshot.
    pub snapshot_id: String,
    /// The agent ID.
    pub agent_id: String,
    /// The session ID: a conversation, run or thread of that agent.
    pub session_id: String,
    /// The place in the session.
    pub snapshot_index: u64,
    /// When it was taken: RFC 3339 in UTC, with microseconds.
    pub timestamp: String,
    /// A note for people.
    pub description: Option<String>,
    /// Labels, sorted by name.
    pub labels: BTreeMap<String, String>,
    /// The state's media type.
    pub content_type: String,
    /// SHA-256 of the state: 64 hexadecimal digits.
    pub content_hash: String,
    /// The state's size in bytes.
    pub uncompressed_size: u64,
    /// The size of the data section in bytes.
    pub compressed_size: u64,
    /// The codec.
    pub compression_algorithm: Codec,
    /// The number of the format.
    pub format_version: u32,
    /// The software that wrote it.
    pub producer: String,
    /// Metadata with other names, as the text of a JSON object.
    pub extra: String,
    /// Whether there is a seal. This library does not check it.
    pub is_sealed: bool,
    /// SHA-256 over footer and metadata, which a seal signs: 64 hexadecimal digits.
    pub root: String,
    /// SHA-256 over root and seal: 64 hexadecimal digits.
    pub digest: String,
    /// The object's etag.
    pub etag: Option<String>,
    /// The size of the whole object in bytes.
    pub stored_size: u64,
}

/// The JSON document of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) codec: Codec,
    /// The most bytes of state in a block, as its writer chose it.
    pub(crate) block_size: u32,
    /// SHA-256 of the block table: 64 hexadecimal digits.
    pub(crate) table_hash: String,
    /// CRC-32 of the state, if a trailer has it: in a snapshot of gzip.
    pub(crate) crc32: Option<u32>,
    pub(super) snapshot_id: String,
    pub(super) agent_id: String,
    pub(super) session_id: String,
    pub(super) snapshot_index: u64,
    pub(super) timestamp: String,
    pub(super) description: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) content_type: String,
    pub(crate) content_hash: String,
    pub(crate) uncompressed_size: u64,
    pub(crate) compressed_size: u64,
    pub(super) producer: String,
    pub(super) extra: Unique<Box<RawValue>>,
}

/// The inner JSON object, which holds the metadata.
struct Fields<'a>(&'a Document);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let document = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("snapshot_id", &document.snapshot_id)?;
        map.serialize_entry("agent_id", &document.agent_id)?;
        map.serialize_entry("session_id", &document.session_id)?;
        map.serialize_entry("snapshot_index", &document.snapshot_index)?;
        map.serialize_entry("timestamp", &document.timestamp)?;
        map.serialize_entry("description", &document.description)?;
        map.serialize_entry("labels", &document.labels)?;
        map.serialize_entry("content_type", &document.content_type)?;
        map.serialize_entry("content_hash", &document.content_hash)?;
        map.serialize_entry("uncompressed_size", &document.uncompressed_size)?;
        map.serialize_entry("compressed_size", &document.compressed_size)?;
        map.serialize_entry("compression_algorithm", document.codec.name())?;
        map.serialize_entry("format_version", &FORMAT_VERSION)?;
        map.serialize_entry("producer", &document.producer)?;
        for (name, value) in &document.extra.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("codec", self.codec.name())?;
        map.serialize_entry("block_size", &self.block_size)?;
        map.serialize_entry("table_hash", &self.table_hash)?;
        if let Some(crc32) = self.crc32 {
            map.serialize_entry("crc32", &crc32)?;
        }
        map.serialize_entry("metadata", &Fields(self))?;
        map.end()
    }
}

impl Document {
    /// Returns the text of the document, as it is stored.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        let json =
            serde_json::to_vec(self).map_err(|error| Error::new(ErrorCode::Other, format!("the metadata can't be written: {error}")))?;
        if json.len() > MAX_METADATA {
            return Err(Error::argument(format!(
                "the metadata has {} bytes, but at most {MAX_METADATA} are allowed: shorten description, labels or extra metadata",
                json.len()
            )));
        }
        Ok(json)
    }

    /// Reads a document. The digest covers its bytes, so any mistake in them was already
    /// there when they were written.
    pub(crate) fn parse(json: &[u8]) -> Result<Self> {
        // A step, whose kind is the error.
        let unpacked = if is_packed(json) { Some(unpack(json)?.text) } else { None };
        Self::parse_kind(unpacked.as_deref().unwrap_or(json), SNAPSHOT).map(|(document, _)| document)
    }

    /// Reads the document of an object of this kind. Returns what is under the name of the
    /// kind, too.
    pub(crate) fn parse_kind(json: &[u8], wanted: &str) -> Result<(Self, Option<Box<RawValue>>)> {
        let mut outer: Unique<Box<RawValue>> =
            from_bytes(json).map_err(|error| Error::format(format!("the metadata is not a single JSON object: {}", quoted(error))))?;
        // This comes first, because nothing else is known about another kind of object.
        let kind = outer.take::<String>("kind")?;
        let kind = kind.unwrap_or_else(|| SNAPSHOT.to_owned());
        if kind != wanted {
            let message = format!("the object is of kind '{}', not a {wanted}", quoted(&kind));
            return Err(Error::new(ErrorCode::WrongKind, message).with("kind", quoted(&kind)));
        }
        let own = outer.take(wanted)?;
        let codec_name: String = outer.require("codec")?;
        let codec =
            Codec::from_name(&codec_name).ok_or_else(|| Error::format(format!("the codec '{}' is not known", quoted(&codec_name))))?;
        let block_size: u32 = outer.require("block_size")?;
        if block_size == 0 || block_size > MAX_BLOCK_SIZE {
            return Err(Error::format(format!("the block size is {block_size} bytes, which is not between 1 and {MAX_BLOCK_SIZE}")));
        }
        let table_hash: String = outer.require("table_hash")?;
        let crc32 = if codec.needs_crc32() { outer.take("crc32")? } else { None };
        let mut fields: Unique<Box<RawValue>> = outer.require("metadata")?;

        let labels: Unique<String> = fields.take("labels")?.unwrap_or(Unique(Vec::new()));
        let algorithm: String = fields.require("compression_algorithm")?;
        let format: u32 = fields.require("format_version")?;
        if algorithm != codec.name() || format != FORMAT_VERSION {
            return Err(Error::format(format!(
                "the metadata says {} and format {format}, but the file has {} and format {FORMAT_VERSION}",
                quoted(&algorithm),
                codec.name()
            )));
        }
        let document = Self {
            codec,
            block_size,
            table_hash,
            crc32,
            snapshot_id: fields.require("snapshot_id")?,
            agent_id: fields.require("agent_id")?,
            session_id: fields.require("session_id")?,
            snapshot_index: fields.require("snapshot_index")?,
            timestamp: fields.require("timestamp")?,
            description: fields.take::<Option<String>>("description")?.flatten(),
            labels: labels.0.into_iter().collect(),
            content_type: fields.require("content_type")?,
            content_hash: fields.require("content_hash")?,
            uncompressed_size: fields.require("uncompressed_size")?,
            compressed_size: fields.require("compressed_size")?,
            producer: fields.require("producer")?,
            extra: fields,
        };
        for (name, hash) in [("content_hash", &document.content_hash), ("table_hash", &document.table_hash)] {
            if !is_hex_hash(hash) {
                return Err(Error::format(format!("the metadata's '{name}' is not 64 hexadecimal digits")));
            }
        }
        document.check_id_and_time()?;
        if document.snapshot_index > MAX_INDEX {
            return Err(Error::format(format!("the metadata's 'snapshot_index' {} is larger than 2^53 - 1", document.snapshot_index)));
        }
        // Unknown names are for later versions. Other readers still have to read them.
        for (name, value) in &outer.0 {
            check_value(name, value).map_err(Error::format)?;
        }
        for (name, value) in &document.extra.0 {
            if STANDARD.contains(&name.as_str()) {
                return Err(Error::format(format!("the metadata has the reserved name '{}'", quoted(name))));
            }
            check_value(name, value).map_err(Error::format)?;
        }
        Ok((document, own))
    }

    /// Checks that snapshot ID and time are in the form that is written. Readers rely on
    /// it to compare them as text.
    fn check_id_and_time(&self) -> Result<()> {
        let id = Uuid::parse_str(&self.snapshot_id).map(|id| id.hyphenated().to_string());
        if id.as_ref() != Ok(&self.snapshot_id) {
            let id = quoted(&self.snapshot_id);
            return Err(Error::format(format!("the metadata's 'snapshot_id' is not a UUID in lower case: '{id}'")));
        }
        if stored_time("timestamp", &self.timestamp).ok().as_ref() != Some(&self.timestamp) {
            let time = quoted(&self.timestamp);
            return Err(Error::format(format!(
                "the metadata's 'timestamp' is not an RFC 3339 time in UTC with microseconds, such as 2026-01-31T12:00:00.000000Z: '{time}'"
            )));
        }
        Ok(())
    }

    pub(crate) fn snapshot_id(&self) -> &str {
        &self.snapshot_id
    }

    pub(crate) fn time_and_labels(&self) -> (&str, &BTreeMap<String, String>) {
        (&self.timestamp, &self.labels)
    }

    pub(crate) fn labels_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.labels
    }

    /// Returns the metadata that users see, with what root, footer and storage add.
    pub(crate) fn into_metadata(self, root: &[u8; 32], footer: &Footer, object: &ObjectInfo) -> Metadata {
        self.into_metadata_of(SNAPSHOT, root, footer, object)
    }

    /// The same for an object of this kind.
    pub(crate) fn into_metadata_of(self, kind: &str, root: &[u8; 32], footer: &Footer, object: &ObjectInfo) -> Metadata {
        Metadata {
            key: object.key.clone(),
            kind: kind.to_owned(),
            snapshot_id: self.snapshot_id,
            agent_id: self.agent_id,
            session_id: self.session_id,
            snapshot_index: self.snapshot_index,
            timestamp: self.timestamp,
            description: self.description,
            labels: self.labels,
            content_type: self.content_type,
            content_hash: self.content_hash,
            uncompressed_size: self.uncompressed_size,
            compressed_size: self.compressed_size,
            compression_algorithm: self.codec,
            format_version: FORMAT_VERSION,
            producer: self.producer,
            extra: compact(&serde_json::to_string(&self.extra).unwrap_or_else(|_| "{}".to_owned())),
            is_sealed: footer.seal > 0,
            root: hex(root),
            digest: hex(&footer.digest),
            etag: object.etag.clone(),
            stored_size: object.size,
        }
    }
}
