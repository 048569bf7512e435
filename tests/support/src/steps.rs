//! Steps of timelines built by hand according to `docs/format.md`, for cases that the
//! library would not write.

use sha2::{Digest, Sha256};

use crate::craft::{Lengths, file, row};

/// A step. [`object`](Self::object) computes the hashes, so that the only mistakes are those
/// in the fields.
#[derive(Clone)]
pub struct Step {
    pub number: u64,
    pub parent: Option<[u8; 32]>,
    pub restates: Option<u64>,
    pub base_root: Option<[u8; 32]>,
    pub base_size: u64,
    /// The size and the SHA-256 of the state.
    pub size: u64,
    pub content_hash: [u8; 32],
    /// How far each link is from the one before, and its size in KiB.
    pub links: Vec<(u64, u64)>,
    pub runs: Vec<Run>,
    /// For each frame, the ranges of its dictionary.
    pub dictionaries: Vec<Vec<(u64, u64)>>,
    /// The frames with their first byte, and the length of the block of each.
    pub frames: Vec<(Vec<u8>, u32)>,
    /// How the document is compressed.
    pub deflate: fn(&[u8]) -> Vec<u8>,
}

/// A run of a state.
#[derive(Clone, Copy)]
pub enum Run {
    Literal(u64),
    /// The distance from the end of the last copy, and the length.
    Copy(i64, u64),
}

/// An object and its root.
#[derive(Clone)]
pub struct Object {
    pub bytes: Vec<u8>,
    pub root: [u8; 32],
}

/// Appends a number of variable length.
pub fn number(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A raw deflate stream of stored blocks.
pub fn stored(plain: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let blocks = plain.chunks(65_535).collect::<Vec<_>>();
    for (index, block) in blocks.iter().enumerate() {
        let length = block.len() as u16;
        stream.push(u8::from(index + 1 == blocks.len()));
        stream.extend_from_slice(&length.to_le_bytes());
        stream.extend_from_slice(&(!length).to_le_bytes());
        stream.extend_from_slice(block);
    }
    if blocks.is_empty() { vec![1, 0, 0, 0xff, 0xff] } else { stream }
}

/// Returns a packed document without hashes.
pub fn packed(text: &str, edits: &[u8], deflate: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    [&[1, 0][..], &[0; 16], &deflate(&[text.as_bytes(), &[0], edits].concat())].concat()
}

/// Returns the object of these sections, with matching hashes.
pub fn object(data: &[u8], table: &[u8], document: &[u8]) -> Object {
    let lengths = Lengths { format: 1, seal: 0, data: data.len() as u64, table: table.len() as u32, document: document.len() as u32 };
    let root = lengths.root(document).try_into().unwrap_or_default();
    Object { bytes: file(false, data, table, document), root }
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Step {
    /// A step that holds all of this state as it is, and depends on no other.
    pub fn whole(number: u64, parent: Option<[u8; 32]>, state: &[u8]) -> Self {
        Self {
            number,
            parent,
            restates: None,
            base_root: None,
            base_size: 0,
            size: state.len() as u64,
            content_hash: Sha256::digest(state).into(),
            links: Vec::new(),
            runs: vec![Run::Literal(state.len() as u64)],
            dictionaries: vec![Vec::new()],
            frames: vec![([&[0], state].concat(), state.len() as u32)],
            deflate: stored,
        }
    }

    /// A step that copies all of the step before it.
    pub fn copy(before: &Self, root: [u8; 32]) -> Self {
        let mut links = before.links.clone();
        links.insert(0, (1, 1));
        Self {
            number: before.number + 1,
            parent: Some(root),
            base_size: before.size,
            links,
            runs: vec![Run::Copy(0, before.size)],
            dictionaries: Vec::new(),
            frames: Vec::new(),
            ..before.clone()
        }
    }

    /// The edits as they are stored.
    pub fn edits(&self) -> Vec<u8> {
        let mut out = Vec::new();
        number(self.links.len() as u64, &mut out);
        for (distance, kib) in &self.links {
            number(*distance, &mut out);
            number(*kib, &mut out);
        }
        number(self.runs.len() as u64, &mut out);
        for run in &self.runs {
            match *run {
                Run::Literal(length) => number(length << 1, &mut out),
                Run::Copy(distance, length) => {
                    number(length << 1 | 1, &mut out);
                    number((distance << 1 ^ distance >> 63) as u64, &mut out);
                }
            }
        }
        for ranges in &self.dictionaries {
            number(ranges.len() as u64, &mut out);
            for (start, length) in ranges {
                number(*start, &mut out);
                number(*length, &mut out);
            }
        }
        out
    }

    pub fn table(&self) -> Vec<u8> {
        self.frames.iter().flat_map(|(frame, length)| row(frame, *length)).collect()
    }

    pub fn data(&self) -> Vec<u8> {
        self.frames.iter().flat_map(|(frame, _)| frame.clone()).collect()
    }

    /// The JSON text of the document.
    pub fn text(&self) -> String {
        let root = |name: &str, root: Option<[u8; 32]>| root.map_or(String::new(), |root| format!(",\"{name}\":\"{}\"", hex(&root)));
        let restates = self.restates.map_or(String::new(), |number| format!(",\"restates\":{number}"));
        let (table, data) = (self.table(), self.data());
        format!(
            "{{\"kind\":\"step\",\"step\":{{\"number\":{}{}{restates}{},\"base_size\":{}}},\"codec\":\"zstd\",\"block_size\":8388608,\
             \"table_hash\":\"{}\",\"metadata\":{{\"snapshot_id\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"agent_id\":\"a\",\"session_id\":\"s\",\
             \"snapshot_index\":1,\"timestamp\":\"2026-01-31T12:00:00.000000Z\",\"content_type\":\"\",\"content_hash\":\"{}\",\
             \"uncompressed_size\":{},\"compressed_size\":{},\"compression_algorithm\":\"zstd\",\"format_version\":1,\"producer\":\"\"}}}}",
            self.number,
            root("parent", self.parent),
            root("base_root", self.base_root),
            self.base_size,
            hex(&Sha256::digest(&table)),
            hex(&self.content_hash),
            self.size,
            data.len()
        )
    }

    /// The object with these fields.
    pub fn object(&self) -> Object {
        self.object_with(&self.edits())
    }

    /// The object with these edits.
    pub fn object_with(&self, edits: &[u8]) -> Object {
        object(&self.data(), &self.table(), &packed(&self.text(), edits, self.deflate))
    }
}
