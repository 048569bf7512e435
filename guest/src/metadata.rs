//! What a snapshot says of itself, and the JSON document that keeps it.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

use persist_model::error::HINT;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::codec::{Codec, MAX_BLOCK_SIZE};
use crate::error::{Error, ErrorCode, Result, quoted};
use crate::footer::{FORMAT_VERSION, Footer, MAX_METADATA};
use crate::hash::is_hex_hash;
use crate::storage::{ObjectInfo, Precondition};

/// What wrote the snapshot.
const PRODUCER: &str = concat!("persist/", env!("CARGO_PKG_VERSION"));

/// The largest whole number that every reader of JSON reads exactly.
const MAX_INDEX: u64 = (1 << 53) - 1;

/// What a snapshot's document is, where it does not say so.
const SNAPSHOT: &str = "snapshot";

/// The names of the standard metadata, which [`SaveOptions::extra`] can't have;
/// from `key` on, they are those that readers add.
const STANDARD: [&str; 22] = [
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

/// How a state is to be saved, and what is to be written down about it.
#[derive(Clone, Debug, Default)]
pub struct SaveOptions {
    /// Whose state it is.
    pub agent_id: String,
    /// Which conversation, run or thread of that agent.
    pub session_id: String,
    /// The place in its session; at most 2^53 - 1.
    pub snapshot_index: u64,
    /// A note for people.
    pub description: Option<String>,
    /// Names and values to find it by.
    pub labels: Vec<(String, String)>,
    /// The state's media type; `application/json` if none.
    pub content_type: Option<String>,
    /// Further metadata: the text of one JSON object.
    pub extra: Option<String>,
    /// The codec; by the ending of the key if none.
    pub codec: Option<Codec>,
    /// The codec's level; its default if none.
    pub level: Option<i32>,
    /// A UUID; a new version 7 one if none.
    pub snapshot_id: Option<String>,
    /// RFC 3339, with any offset; the current time if none.
    pub timestamp: Option<String>,
    /// What must be true of the key.
    pub precondition: Precondition,
    /// The state's size in bytes, if known; a hint.
    pub state_size_hint: Option<u64>,
    /// Names and values for the storage to keep beside the object.
    pub attributes: Vec<(String, String)>,
    /// The content hash is given with [`Saver::set_content_hash`](crate::save::Saver::set_content_hash).
    pub host_hashes: bool,
}

/// What a snapshot says of itself, and what the storage says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The object's key.
    pub key: String,
    /// What the object is.
    pub kind: String,
    /// A UUID, unique to this snapshot.
    pub snapshot_id: String,
    /// Whose state it is.
    pub agent_id: String,
    /// Which conversation, run or thread of that agent.
    pub session_id: String,
    /// The place in its session.
    pub snapshot_index: u64,
    /// RFC 3339, UTC, microseconds.
    pub timestamp: String,
    /// A note for people.
    pub description: Option<String>,
    /// Names and values, sorted by name.
    pub labels: BTreeMap<String, String>,
    /// The state's media type.
    pub content_type: String,
    /// SHA-256 of the state, 64 hexadecimal digits.
    pub content_hash: String,
    /// The state's size in bytes.
    pub uncompressed_size: u64,
    /// The data section's size in bytes.
    pub compressed_size: u64,
    /// The codec.
    pub compression_algorithm: Codec,
    /// The format's number.
    pub format_version: u32,
    /// What wrote it.
    pub producer: String,
    /// Metadata of other names, as the text of one JSON object.
    pub extra: String,
    /// Whether there is a seal, which nothing here checks.
    pub is_sealed: bool,
    /// SHA-256 over footer and metadata, 64 hexadecimal digits: what a seal signs.
    pub root: String,
    /// SHA-256 over root and seal, 64 hexadecimal digits.
    pub digest: String,
    /// The object's etag.
    pub etag: Option<String>,
    /// The object's whole size in bytes.
    pub stored_size: u64,
}

/// What is known when a save begins; the sizes and hashes come at its end.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    snapshot_id: String,
    agent_id: String,
    session_id: String,
    snapshot_index: u64,
    timestamp: String,
    description: Option<String>,
    labels: BTreeMap<String, String>,
    content_type: String,
    extra: Unique<Box<RawValue>>,
}

impl Draft {
    /// Checks the options and fills in what they leave out.
    pub(crate) fn new(options: &SaveOptions) -> Result<Self> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self::at(options, since_1970.ok().and_then(time_of))
    }

    /// `clock` is none where it shows a time that can't be written down.
    fn at(options: &SaveOptions, clock: Option<OffsetDateTime>) -> Result<Self> {
        if options.snapshot_index > MAX_INDEX {
            return Err(Error::argument(format!("the snapshot index {} is larger than 2^53 - 1", options.snapshot_index)));
        }
        // WASI shows every time before 1970 as its beginning.
        let now = clock.filter(|clock| *clock > OffsetDateTime::UNIX_EPOCH);
        let time = match &options.timestamp {
            None => now.ok_or_else(clock_is_wrong)?,
            Some(text) => parse_time("timestamp", text)?,
        };
        let snapshot_id = match &options.snapshot_id {
            None => new_uuid(now.unwrap_or(time))?,
            Some(text) => Uuid::parse_str(text)
                .map_err(|error| Error::argument(format!("the snapshot id '{}' is not a UUID: {error}", quoted(text))))?,
        };
        let mut labels = BTreeMap::new();
        for (name, value) in &options.labels {
            if labels.insert(name.clone(), value.clone()).is_some() {
                return Err(Error::argument(format!("the label '{}' is given twice", quoted(name))));
            }
        }
        let draft = Self {
            snapshot_id: snapshot_id.hyphenated().to_string(),
            agent_id: options.agent_id.clone(),
            session_id: options.session_id.clone(),
            snapshot_index: options.snapshot_index,
            timestamp: rfc3339_utc_micros(time)?,
            description: options.description.clone(),
            labels,
            content_type: options.content_type.clone().unwrap_or_else(|| "application/json".to_owned()),
            extra: extra_fields(options.extra.as_deref())?,
        };
        // Refused before a byte of state is read, not after. The numbers
        // that are not known yet take the most room they can.
        draft.clone().finish(Codec::Gzip, &[0xff; 32], &[0xff; 32], u64::MAX, u64::MAX, Some(u32::MAX)).to_json()?;
        Ok(draft)
    }

    /// The whole document, once sizes and hashes are known.
    pub(crate) fn finish(
        self,
        codec: Codec,
        table_hash: &[u8; 32],
        content_hash: &[u8; 32],
        size: u64,
        data_length: u64,
        crc32: Option<u32>,
    ) -> Document {
        Document {
            codec,
            block_size: codec.block_size(),
            table_hash: crate::hash::hex(table_hash),
            crc32,
            snapshot_id: self.snapshot_id,
            agent_id: self.agent_id,
            session_id: self.session_id,
            snapshot_index: self.snapshot_index,
            timestamp: self.timestamp,
            description: self.description,
            labels: self.labels,
            content_type: self.content_type,
            content_hash: crate::hash::hex(content_hash),
            uncompressed_size: size,
            compressed_size: data_length,
            producer: PRODUCER.to_owned(),
            extra: self.extra,
        }
    }
}

/// A time as a user writes it, as the value of `what`.
fn parse_time(what: &str, text: &str) -> Result<OffsetDateTime> {
    persist_model::time::parse(text)
        .map_err(|error| Error::argument(format!("the {what} '{}' is not RFC 3339, like 2026-01-31T12:00:00Z: {error}", quoted(text))))
}

/// The same in the form in which times are stored.
pub(crate) fn stored_time(what: &str, text: &str) -> Result<String> {
    rfc3339_utc_micros(parse_time(what, text)?)
}

fn rfc3339_utc_micros(time: OffsetDateTime) -> Result<String> {
    persist_model::time::stored(time).ok_or_else(|| Error::argument("the timestamp is not in the years 1 to 9999, in UTC"))
}

/// The time so long after the beginning of 1970; none after the year 9999, which
/// RFC 3339 ends with.
fn time_of(since_1970: Duration) -> Option<OffsetDateTime> {
    let since_1970 = time::Duration::try_from(since_1970).ok()?;
    OffsetDateTime::UNIX_EPOCH.checked_add(since_1970).filter(|time| time.year() <= 9999)
}

fn clock_is_wrong() -> Error {
    let error = Error::argument("the clock of this machine is before 1970 or after 9999, and no time is given");
    error.with(HINT, "set the clock, or give the time when the state was taken, as with --timestamp")
}

fn new_uuid(now: OffsetDateTime) -> Result<Uuid> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| Error::new(ErrorCode::Other, format!("no random numbers: {error}")))?;
    let millis = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

fn extra_fields(text: Option<&str>) -> Result<Unique<Box<RawValue>>> {
    let Some(text) = text else { return Ok(Unique(Vec::new())) };
    let fields: Unique<Box<RawValue>> = serde_json::from_str(text)
        .map_err(|error| Error::argument(format!("the extra metadata is not one JSON object: {}", quoted(error))))?;
    for (name, value) in &fields.0 {
        if STANDARD.contains(&name.as_str()) {
            return Err(Error::argument(format!("the extra metadata has '{}', which is standard metadata", quoted(name))));
        }
        check_value(name, value).map_err(Error::argument)?;
    }
    Ok(fields)
}

/// Whether other readers of JSON can read a value that is only passed on: raw
/// text may nest deeper, and hold larger numbers, than they take.
fn check_value(name: &str, value: &RawValue) -> std::result::Result<(), String> {
    serde_json::from_str::<serde_json::Value>(value.get())
        .map(drop)
        .map_err(|error| format!("the metadata '{}' can't be read: {}", quoted(name), quoted(error)))
}

/// JSON without the spaces and line ends between its tokens; the digits of its
/// numbers stay as they are.
fn compact(json: &str) -> String {
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

/// The JSON document of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) codec: Codec,
    /// The most bytes of state in a block.
    pub(crate) block_size: u32,
    /// SHA-256 of the block table, 64 hexadecimal digits.
    pub(crate) table_hash: String,
    /// CRC-32 of the state, where the codec's trailer has it.
    pub(crate) crc32: Option<u32>,
    snapshot_id: String,
    agent_id: String,
    session_id: String,
    snapshot_index: u64,
    timestamp: String,
    description: Option<String>,
    labels: BTreeMap<String, String>,
    content_type: String,
    pub(crate) content_hash: String,
    pub(crate) uncompressed_size: u64,
    pub(crate) compressed_size: u64,
    producer: String,
    extra: Unique<Box<RawValue>>,
}

/// A JSON object in the order it is written, whose names are unique.
#[derive(Clone, Debug)]
struct Unique<V>(Vec<(String, V)>);

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
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(index) = self.0.iter().position(|(found, _)| found == name) else { return Ok(None) };
        let (_, value) = self.0.remove(index);
        serde_json::from_str(value.get())
            .map(Some)
            .map_err(|error| Error::format(format!("the metadata's '{name}' is wrong: {}", quoted(error))))
    }

    fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T> {
        self.take(name)?.ok_or_else(|| Error::format(format!("the metadata has no '{name}'")))
    }
}

/// The inner object, with the metadata alone.
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
    /// The document's text, as it is stored.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        let json =
            serde_json::to_vec(self).map_err(|error| Error::new(ErrorCode::Other, format!("the metadata can't be written: {error}")))?;
        if json.len() > MAX_METADATA {
            return Err(Error::argument(format!(
                "the metadata takes {} bytes, at most {MAX_METADATA} are allowed: shorten description, labels or extra metadata",
                json.len()
            )));
        }
        Ok(json)
    }

    /// Reads a document. Its bytes are covered by the digest, so that whatever
    /// is wrong with them was written so.
    pub(crate) fn parse(json: &[u8]) -> Result<Self> {
        let mut outer: Unique<Box<RawValue>> = serde_json::from_slice(json)
            .map_err(|error| Error::format(format!("the metadata is not one JSON object: {}", quoted(error))))?;
        // First of all: nothing else is known of another kind of object.
        let kind = outer.take::<String>("kind")?;
        if let Some(kind) = kind.filter(|kind| kind != SNAPSHOT) {
            let message = format!("the object is of the kind '{}', not a snapshot", quoted(&kind));
            return Err(Error::new(ErrorCode::WrongKind, message).with("kind", quoted(&kind)));
        }
        let codec_name: String = outer.require("codec")?;
        let codec =
            Codec::from_name(&codec_name).ok_or_else(|| Error::format(format!("the codec '{}' is not known", quoted(&codec_name))))?;
        let block_size: u32 = outer.require("block_size")?;
        if block_size == 0 || block_size > MAX_BLOCK_SIZE {
            return Err(Error::format(format!("a block size of {block_size} bytes is not in 1 to {MAX_BLOCK_SIZE}")));
        }
        let table_hash: String = outer.require("table_hash")?;
        let crc32 = if codec.needs_crc32() { Some(outer.require("crc32")?) } else { None };
        let mut fields: Unique<Box<RawValue>> = outer.require("metadata")?;

        let labels: Unique<String> = fields.take("labels")?.unwrap_or(Unique(Vec::new()));
        let algorithm: String = fields.require("compression_algorithm")?;
        let format: u32 = fields.require("format_version")?;
        if algorithm != codec.name() || format != FORMAT_VERSION {
            return Err(Error::format(format!(
                "the metadata says {} and format {format}, the file {} and {FORMAT_VERSION}",
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
        // What is not known is for later versions, and still JSON that others read.
        for (name, value) in &outer.0 {
            check_value(name, value).map_err(Error::format)?;
        }
        for (name, value) in &document.extra.0 {
            // What listings add can't come from the file.
            if STANDARD.contains(&name.as_str()) {
                return Err(Error::format(format!("the metadata has '{}', which is not for a file to say", quoted(name))));
            }
            check_value(name, value).map_err(Error::format)?;
        }
        Ok(document)
    }

    /// Ids and times are in the one form that is written: others rely on it, to
    /// compare them as text.
    fn check_id_and_time(&self) -> Result<()> {
        let id = Uuid::parse_str(&self.snapshot_id).map(|id| id.hyphenated().to_string());
        if id.as_ref() != Ok(&self.snapshot_id) {
            let id = quoted(&self.snapshot_id);
            return Err(Error::format(format!("the metadata's 'snapshot_id' is not a UUID in lower case: '{id}'")));
        }
        if stored_time("timestamp", &self.timestamp).ok().as_ref() != Some(&self.timestamp) {
            let time = quoted(&self.timestamp);
            return Err(Error::format(format!(
                "the metadata's 'timestamp' is not RFC 3339 in UTC with microseconds, like 2026-01-31T12:00:00.000000Z: '{time}'"
            )));
        }
        Ok(())
    }

    /// What users see of it, with what root, footer and storage say of the object.
    pub(crate) fn into_metadata(self, root: &[u8; 32], footer: &Footer, object: &ObjectInfo) -> Metadata {
        Metadata {
            key: object.key.clone(),
            kind: SNAPSHOT.to_owned(),
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
            root: crate::hash::hex(root),
            digest: crate::hash::hex(&footer.digest),
            etag: object.etag.clone(),
            stored_size: object.size,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_1970_is_an_error_unless_the_time_is_given() {
        let epoch = OffsetDateTime::UNIX_EPOCH;
        for clock in [Some(epoch), Some(epoch - time::Duration::days(400)), None] {
            let error = Draft::at(&SaveOptions::default(), clock).expect_err("it would be a wrong time");
            assert!(error.code == ErrorCode::InvalidArgument && error.message.contains("before 1970"), "{error:?}");
            let options = SaveOptions { timestamp: Some("2026-01-31T12:00:00Z".to_owned()), ..SaveOptions::default() };
            let draft = Draft::at(&options, clock).unwrap();
            assert_eq!(draft.timestamp, "2026-01-31T12:00:00.000000Z");
            // The id has the time in front.
            let id = Uuid::parse_str(&draft.snapshot_id).unwrap();
            assert_eq!(id.get_timestamp().map(|time| time.to_unix().0), Some(1_769_860_800));
        }
        Draft::at(&SaveOptions::default(), Some(epoch + time::Duration::seconds(1))).unwrap();
    }

    #[test]
    fn a_clock_after_9999_shows_no_time() {
        // The first second of the year 10000.
        const END: u64 = 253_402_300_800;
        for seconds in [END, END + 1, u64::try_from(i64::MAX).unwrap(), u64::MAX] {
            assert_eq!(time_of(Duration::from_secs(seconds)), None, "{seconds}");
        }
        let last = time_of(Duration::new(END - 1, 999_999_999)).expect("it is in 9999");
        let draft = Draft::at(&SaveOptions::default(), Some(last)).unwrap();
        assert_eq!(draft.timestamp, "9999-12-31T23:59:59.999999Z");
        assert_eq!(time_of(Duration::ZERO), Some(OffsetDateTime::UNIX_EPOCH));
        let error = Draft::at(&SaveOptions::default(), time_of(Duration::from_secs(END))).expect_err("it would be a wrong time");
        assert!(error.code == ErrorCode::InvalidArgument && error.message.contains("after 9999"), "{error:?}");
    }
}
