//! Catalogues: objects that repeat the metadata of 256 steps, so that a long history is
//! read with few requests. They are derived. A missing or damaged one is rebuilt from the
//! steps, and what a catalogue says of a step counts only if the listing has that step with
//! the same size.
//!
//! A catalogue is an object of format 1 with the carriers of zstd. Its document is JSON, and
//! its frames hold one JSON object in a line for each step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::footer::{Footer, digest_of};
use crate::hash::{hash_of, hex};
use crate::metadata::Metadata;
use crate::storage::{ByteRange, ObjectInfo, Precondition, Storage};
use crate::table::{ROW, Table};
use crate::timeline::frames::{decode, encode_plain, slice};
use crate::timeline::names::Folder;
use crate::timeline::record::{Record, write};
use crate::timeline::step::{CARRIERS, STEP, Step};

/// How many numbers a catalogue covers.
pub(crate) const SPAN: u64 = 256;

/// The most bytes of a catalogue, and of its rows.
const MAX_SIZE: u64 = 8 << 20;
const MAX_ROWS: usize = 32 << 20;

const KIND: &str = "catalogue";

/// What is known of a step without reading it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) number: u64,
    pub(crate) root: String,
    /// The size of the object.
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restates: Option<u64>,
    /// The steps that it depends on, and the size of each in KiB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    links: Vec<(u64, u64)>,
    snapshot_id: String,
    agent_id: String,
    session_id: String,
    snapshot_index: u64,
    timestamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    content_type: String,
    content_hash: String,
    uncompressed_size: u64,
    compressed_size: u64,
    codec: String,
    producer: String,
    extra: Box<RawValue>,
    /// The digest, if there is a seal, which it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

/// The document of a catalogue.
#[derive(Serialize, Deserialize)]
struct Document {
    kind: String,
    last: u64,
    table_hash: String,
}

impl Row {
    /// Returns the row of a step.
    pub(crate) fn of(step: &Step) -> Self {
        let metadata = step.metadata();
        Self {
            number: step.document.number,
            root: metadata.root,
            size: step.info.size,
            restates: step.document.restates,
            links: step.document.links.iter().map(|link| (link.number, link.kib)).collect(),
            snapshot_id: metadata.snapshot_id,
            agent_id: metadata.agent_id,
            session_id: metadata.session_id,
            snapshot_index: metadata.snapshot_index,
            timestamp: metadata.timestamp,
            description: metadata.description,
            labels: metadata.labels,
            content_type: metadata.content_type,
            content_hash: metadata.content_hash,
            uncompressed_size: metadata.uncompressed_size,
            compressed_size: metadata.compressed_size,
            codec: metadata.compression_algorithm.name().to_owned(),
            producer: metadata.producer,
            // The metadata's own text is one JSON object.
            extra: RawValue::from_string(metadata.extra).unwrap_or_default(),
            sealed: metadata.is_sealed.then_some(metadata.digest),
        }
    }

    /// The numbers of the steps that it depends on.
    pub(crate) fn links(&self) -> impl Iterator<Item = u64> {
        self.links.iter().map(|(number, _)| *number)
    }

    /// When the state was taken, and the labels.
    pub(crate) fn time_and_labels(&self) -> (&str, &BTreeMap<String, String>) {
        (&self.timestamp, &self.labels)
    }

    /// Returns what takes the place of the step when it is removed.
    pub(crate) fn marker(&self) -> Record {
        Record::Removed { number: self.number, root: self.root.clone(), id: self.snapshot_id.clone() }
    }

    /// Sets or takes away labels that were set later.
    pub(crate) fn relabel(&mut self, later: Vec<Record>) {
        for record in later {
            match record {
                Record::Label { name, value: Some(value), .. } => drop(self.labels.insert(name, value)),
                Record::Label { name, value: None, .. } => drop(self.labels.remove(&name)),
                _ => {}
            }
        }
    }

    /// Returns the metadata that users see.
    pub(crate) fn metadata(&self, info: &ObjectInfo) -> Result<Metadata> {
        let wrong = || Error::format("a row of the catalogue is not valid");
        let root = hash_of(&self.root).ok_or_else(wrong)?;
        let row = self.clone();
        Ok(Metadata {
            key: info.key.clone(),
            kind: STEP.to_owned(),
            snapshot_id: row.snapshot_id,
            agent_id: row.agent_id,
            session_id: row.session_id,
            snapshot_index: row.snapshot_index,
            timestamp: row.timestamp,
            description: row.description,
            labels: row.labels,
            content_type: row.content_type,
            content_hash: row.content_hash,
            uncompressed_size: row.uncompressed_size,
            compressed_size: row.compressed_size,
            compression_algorithm: Codec::from_name(&row.codec).ok_or_else(wrong)?,
            format_version: crate::FORMAT_VERSION,
            producer: row.producer,
            extra: row.extra.get().to_owned(),
            is_sealed: row.sealed.is_some(),
            digest: row.sealed.unwrap_or_else(|| hex(&digest_of(&root, &[]))),
            root: row.root,
            etag: info.etag.clone(),
            stored_size: info.size,
        })
    }
}

/// The number of the catalogue that covers a step.
pub(crate) fn covering(number: u64) -> u64 {
    number.div_ceil(SPAN) * SPAN
}

/// Writes the catalogue of the steps up to `last`.
pub(crate) fn write_catalogue<S: Storage>(storage: &S, folder: &Folder, last: u64, rows: &[Row]) -> Result<()> {
    let mut lines = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut lines, row).map_err(|error| Error::argument(format!("a row can't be written: {error}")))?;
        lines.push(b'\n');
    }
    let frames = encode_plain(&lines, Codec::Zstd, Codec::Zstd.default_level())?;
    let mut bytes = frames.data;
    let table_hash = hex(&Sha256::digest(frames.table.bytes()));
    let document = Document { kind: KIND.to_owned(), last, table_hash };
    let payload = serde_json::to_vec(&document).map_err(|error| Error::argument(format!("a catalogue can't be written: {error}")))?;
    let (footer, _) = Footer::new(CARRIERS, bytes.len() as u64, frames.table.bytes(), &payload);
    footer.carry(frames.table.bytes(), &payload, &[], &mut bytes);
    write(storage, &folder.catalogue(last), &bytes, Precondition::None, "application/octet-stream", Vec::new()).map(drop)
}

/// Reads the catalogue of the steps up to `last`.
pub(crate) fn read_catalogue<S: Storage>(storage: &S, folder: &Folder, last: u64) -> Result<Vec<Row>> {
    let key = folder.catalogue(last);
    let part = storage.read_many(&[(key.clone(), ByteRange::Suffix(MAX_SIZE))])?.pop();
    let (info, bytes) = part.unwrap_or_else(|| Err(Error::short_read(0, 1)))?;
    parse(&info, &bytes, last).map_err(|error| error.at(&key))
}

fn parse(info: &ObjectInfo, bytes: &[u8], last: u64) -> Result<Vec<Row>> {
    let wrong = |what: &str| Error::format(format!("the catalogue is not valid: {what}"));
    let footer = Footer::parse(bytes, info.size)?.ok_or_else(|| wrong("it has no footer"))?;
    footer.check_size(info.size)?;
    let checked = footer.uncarry(bytes, info.size)?;
    let document: Document = serde_json::from_slice(&checked.metadata).map_err(|error| wrong(&error.to_string()))?;
    if document.kind != KIND || document.last != last {
        return Err(wrong("it is another object"));
    }
    let (length, trailing) = (footer.table_length(), footer.trailing_length());
    let start = bytes.len().checked_sub(trailing).ok_or_else(|| wrong("it is too large"))?;
    let carriers = bytes.get(start..start + length).unwrap_or_default();
    let table = footer.uncarry_table(carriers, start as u64, &document.table_hash)?;
    if footer.table / ROW == 0 {
        return Ok(Vec::new());
    }
    let table = Table::parse(table, crate::limits::MAX_BLOCK_SIZE)?;
    if table.state_size() > MAX_ROWS as u64 {
        return Err(wrong("it is too large"));
    }
    let (mut lines, mut offset) = (Vec::new(), 0);
    for row in table.rows() {
        let frame = slice(bytes, offset, u64::from(row.frame_length));
        if <[u8; 32]>::from(Sha256::digest(frame)) != row.hash {
            return Err(Error::integrity("a frame of the catalogue was changed"));
        }
        lines.extend(decode(frame, &[], row.length)?);
        offset += u64::from(row.frame_length);
    }
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| wrong(&error.to_string()))).collect()
}
