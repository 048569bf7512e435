//! The document of a step: the metadata of its state, and how the state is made.

use serde::{Deserialize, Serialize};

use crate::codec::primed::MAX_DICTIONARY;
use crate::error::{Error, Result};
use crate::hash::{hash_of, hex};
use crate::metadata::Document;
use crate::metadata::packed::{Unpacked, is_packed, pack, unpack};
use crate::timeline::edits::EditList;
use crate::timeline::names::MAX_NUMBER;
use crate::timeline::varint::{put, take};

/// The kind of object.
pub(crate) const STEP: &str = "step";

/// The most steps that a step depends on, one by one.
pub(crate) const MAX_LINKS: usize = 64;

/// A range of the base state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// A step that another one depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) number: u64,
    /// The size of the object in KiB, rounded up. It tells a reader how to read the object
    /// at once; nothing depends on it.
    pub(crate) kib: u64,
}

/// The step whose state another one is an edit of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) number: u64,
    pub(crate) root: [u8; 32],
    /// The size of its state in bytes.
    pub(crate) size: u64,
}

/// The document of a step.
#[derive(Clone, Debug)]
pub(crate) struct StepDocument {
    pub(crate) document: Document,
    pub(crate) number: u64,
    /// The root of step `number - 1`; `None` for the first step, and for one that follows
    /// numbers that were removed.
    pub(crate) parent: Option<[u8; 32]>,
    /// The step whose state and metadata this one repeats, so that it can be removed.
    pub(crate) restates: Option<u64>,
    /// `None` if the step depends on no other.
    pub(crate) base: Option<Base>,
    /// The base, its base, and so on.
    pub(crate) links: Vec<Link>,
    pub(crate) edits: EditList,
    /// For each frame, the parts of the base state that are its dictionary.
    pub(crate) dictionaries: Vec<Vec<Range>>,
}

/// What the document has under the name `step`.
#[derive(Serialize, Deserialize)]
struct Fields {
    number: u64,
    parent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restates: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_root: Option<String>,
    base_size: u64,
}

fn wrong(what: &str) -> Error {
    Error::format(format!("the document of the step is not valid: {what}"))
}

fn root(text: &str) -> Result<[u8; 32]> {
    hash_of(text).ok_or_else(|| wrong("a root is not 64 hexadecimal digits"))
}

impl StepDocument {
    /// Returns the payload of the metadata section.
    pub(crate) fn to_payload(&self) -> Result<Vec<u8>> {
        let fields = Fields {
            number: self.number,
            parent: self.parent.map(|root| hex(&root)),
            restates: self.restates,
            base_root: self.base.filter(|base| Some(base.root) != self.parent).map(|base| hex(&base.root)),
            base_size: self.base.map_or(0, |base| base.size),
        };
        let own = serde_json::to_string(&fields).map_err(|error| wrong(&error.to_string()))?;
        let rest = self.document.to_json()?;
        let mut text = format!("{{\"kind\":\"{STEP}\",\"{STEP}\":{own},").into_bytes();
        text.extend_from_slice(rest.get(1..).unwrap_or_default());
        let mut edits = Vec::new();
        put(&mut edits, self.links.len() as u64);
        let mut above = self.number;
        for link in &self.links {
            put(&mut edits, above.saturating_sub(link.number));
            put(&mut edits, link.kib);
            above = link.number;
        }
        self.edits.encode(&mut edits);
        for ranges in &self.dictionaries {
            put(&mut edits, ranges.len() as u64);
            for range in ranges {
                put(&mut edits, range.start);
                put(&mut edits, range.length);
            }
        }
        pack(&text, &edits)
    }

    /// Reads the payload of a metadata section. The object's digest covers it, so any
    /// mistake was already there when it was written. `frames` is the number of frames.
    pub(crate) fn parse(payload: &[u8], frames: usize) -> Result<Self> {
        if !is_packed(payload) {
            // Another kind of object, which says so.
            return Document::parse_kind(payload, STEP).and_then(|_| Err(wrong("it is not packed")));
        }
        let Unpacked { text, edits } = unpack(payload)?;
        let (document, own) = Document::parse_kind(&text, STEP)?;
        let own = own.ok_or_else(|| wrong("'step' is missing"))?;
        let fields: Fields = serde_json::from_str(own.get()).map_err(|error| wrong(&error.to_string()))?;
        if fields.number == 0 || fields.number > MAX_NUMBER {
            return Err(wrong("its number is not between 1 and 999,999,999,999"));
        }
        let parent = fields.parent.as_deref().map(root).transpose()?;
        if parent.is_some() && fields.number == 1 {
            return Err(wrong("the first step has a parent"));
        }
        let mut rest = edits.as_slice();
        let links = links(&mut rest, fields.number)?;
        let base_root = fields.base_root.as_deref().map(root).transpose()?;
        let base = match links.first() {
            None if base_root.is_none() && fields.base_size == 0 => None,
            None => return Err(wrong("it describes a base that it does not have")),
            // Only where the parent is the base, one root is enough.
            Some(link) if (link.number == fields.number - 1) == base_root.is_none() => {
                let root = base_root.or(parent).ok_or_else(|| wrong("the root of its base is missing"))?;
                Some(Base { number: link.number, root, size: fields.base_size })
            }
            Some(_) => return Err(wrong("the root of its base is missing, or given twice")),
        };
        let list = EditList::decode(&mut rest, document.uncompressed_size, fields.base_size)?;
        let mut dictionaries = Vec::with_capacity(frames.min(rest.len()));
        for _ in 0..frames {
            dictionaries.push(ranges(&mut rest, fields.base_size)?);
        }
        if !rest.is_empty() {
            return Err(wrong("bytes follow its dictionaries"));
        }
        let Fields { number, restates, .. } = fields;
        if restates.is_some_and(|restated| restated == 0 || restated >= number) {
            return Err(wrong("it repeats a step that does not come before it"));
        }
        Ok(Self { document, number, parent, restates, base, links, edits: list, dictionaries })
    }
}

/// Reads the steps that step `number` depends on: how far each is from the one above it,
/// and its size.
fn links(bytes: &mut &[u8], number: u64) -> Result<Vec<Link>> {
    let not_links = || wrong("its links must be at most 64 earlier steps, the latest first");
    let count = take(bytes).filter(|count| *count <= MAX_LINKS as u64).ok_or_else(not_links)?;
    let mut links = Vec::new();
    let mut above = number;
    for _ in 0..count {
        let distance = take(bytes).filter(|distance| *distance > 0 && *distance < above).ok_or_else(not_links)?;
        above -= distance;
        links.push(Link { number: above, kib: take(bytes).ok_or_else(not_links)? });
    }
    Ok(links)
}

/// Reads the ranges of a dictionary.
fn ranges(bytes: &mut &[u8], base_size: u64) -> Result<Vec<Range>> {
    let cut = || wrong("its dictionaries are cut short");
    let count = take(bytes).ok_or_else(cut)?;
    let mut ranges = Vec::new();
    let mut total = 0_u64;
    for _ in 0..count {
        let range = Range { start: take(bytes).ok_or_else(cut)?, length: take(bytes).ok_or_else(cut)? };
        let end = range.start.checked_add(range.length);
        total = total.saturating_add(range.length);
        if range.length == 0 || end.is_none_or(|end| end > base_size) || total > MAX_DICTIONARY as u64 {
            return Err(wrong("a dictionary must be at most 32 KiB of the base state"));
        }
        ranges.push(range);
    }
    Ok(ranges)
}
