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
use crate::metadata::{Document, Metadata, from_bytes};
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
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) number: u64,
    pub(crate) root: [u8; 32],
    /// The size of the object.
    pub(crate) size: u64,
    pub(crate) restates: Option<u64>,
    /// The steps that it depends on.
    pub(crate) links: Vec<u64>,
    document: Document,
    /// The digest, if there is a seal, which it covers.
    sealed: Option<String>,
}

/// A row as it is stored.
#[derive(Serialize, Deserialize)]
struct Line {
    number: u64,
    root: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restates: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    links: Vec<u64>,
    /// The document of the step, with zeros in place of the hash of its table.
    document: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

/// The document of a catalogue.
#[derive(Serialize, Deserialize)]
struct Catalogue {
    kind: String,
    last: u64,
    table_hash: String,
}

fn wrong(what: &str) -> Error {
    Error::format(format!("the catalogue is not valid: {what}"))
}

impl Row {
    /// Returns the row of a step.
    pub(crate) fn of(step: &Step) -> Self {
        let mut document = step.document.document.clone();
        document.table_hash = hex(&[0; 32]);
        Self {
            number: step.document.number,
            root: step.root,
            size: step.info.size,
            restates: step.document.restates,
            links: step.document.links.iter().map(|link| link.number).collect(),
            document,
            sealed: step.sealed_digest(),
        }
    }

    /// Whether another row says the same of the step.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let text = |row: &Self| row.to_line().ok().and_then(|line| serde_json::to_string(&line).ok());
        text(self) == text(other)
    }

    fn to_line(&self) -> Result<Line> {
        let text = String::from_utf8(self.document.to_json()?).map_err(|_| wrong("a document is not text"))?;
        Ok(Line {
            number: self.number,
            root: hex(&self.root),
            size: self.size,
            restates: self.restates,
            links: self.links.clone(),
            document: RawValue::from_string(text).map_err(|error| wrong(&error.to_string()))?,
            sealed: self.sealed.clone(),
        })
    }

    fn of_line(line: Line) -> Result<Self> {
        let Line { number, root, size, restates, links, document, sealed } = line;
        let root = hash_of(&root).ok_or_else(|| wrong("a root is not 64 hexadecimal digits"))?;
        let document = Document::parse(document.get().as_bytes())?;
        Ok(Self { number, root, size, restates, links, document, sealed })
    }

    /// When the state was taken, and the labels.
    pub(crate) fn time_and_labels(&self) -> (&str, &BTreeMap<String, String>) {
        self.document.time_and_labels()
    }

    /// Returns what takes the place of the step when it is removed.
    pub(crate) fn marker(&self) -> Record {
        Record::Removed { number: self.number, root: hex(&self.root), id: self.document.snapshot_id().to_owned() }
    }

    /// Sets or takes away labels that were set later.
    pub(crate) fn relabel(&mut self, later: Vec<Record>) {
        let labels = self.document.labels_mut();
        for record in later {
            match record {
                Record::Label { name, value: Some(value), .. } => drop(labels.insert(name, value)),
                Record::Label { name, value: None, .. } => drop(labels.remove(&name)),
                _ => {}
            }
        }
    }

    /// Returns the metadata that users see.
    pub(crate) fn metadata(&self, info: &ObjectInfo) -> Metadata {
        let seal = usize::from(self.sealed.is_some());
        let footer = Footer { codec: CARRIERS, seal, data: 0, table: 0, metadata: 0, digest: digest_of(&self.root, &[]) };
        let mut metadata = self.document.clone().into_metadata_of(STEP, &self.root, &footer, info);
        if let Some(digest) = &self.sealed {
            metadata.digest.clone_from(digest);
        }
        metadata
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
        serde_json::to_writer(&mut lines, &row.to_line()?).map_err(|error| Error::argument(format!("a row can't be written: {error}")))?;
        lines.push(b'\n');
    }
    let frames = encode_plain(&lines, Codec::Zstd, Codec::Zstd.default_level())?;
    let mut bytes = frames.data;
    let table_hash = hex(&Sha256::digest(frames.table.bytes()));
    let document = Catalogue { kind: KIND.to_owned(), last, table_hash };
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
    let footer = Footer::parse(bytes, info.size)?.ok_or_else(|| wrong("it has no footer"))?;
    footer.check_size(info.size)?;
    let checked = footer.uncarry(bytes, info.size)?;
    let document: Catalogue = from_bytes(&checked.metadata).map_err(|error| wrong(&error.to_string()))?;
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
    let row = |line| from_bytes(line).map_err(|error| wrong(&error.to_string())).and_then(Row::of_line);
    lines.map(row).collect()
}
