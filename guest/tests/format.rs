//! A second implementation of the format, from `docs/format.md`: the library reads the
//! files of this small writer, and refuses them if they break a rule. gzip frames come
//! from flate2, zstd frames from the C library.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "format/document.rs"]
mod document;
#[path = "format/sections.rs"]
mod sections;

use flate2::{Compress, Compression, FlushCompress};
use persist_guest::error::{Error, ErrorCode};
use persist_guest::memory::MemoryStorage;
use persist_guest::{Metadata, SaveOptions, snapshots, verify};
use persist_test_support::craft;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const KEY: &str = "x";

/// The parts of a snapshot. `bytes` joins them and adds a matching digest, so that the only
/// mistakes are those in the parts.
#[derive(Clone)]
struct Parts {
    gzip: bool,
    header: Vec<u8>,
    /// Frame, declared frame length, declared length, hash.
    blocks: Vec<(Vec<u8>, u32, u32, [u8; 32])>,
    trailer: Vec<u8>,
    /// `@table` is a placeholder for the table's hash.
    document: String,
    seal: Vec<u8>,
    format: u32,
    data_length: Option<u64>,
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A zstd frame with the header that the format requires.
fn zstd_block(plain: &[u8]) -> Vec<u8> {
    craft::with_header(&zstd_frame(plain, true, true), plain.len() as u64)
}

/// Raw deflate from an empty window, with a sync flush at the end.
fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + 100);
    Compress::new(Compression::new(6), false).compress_vec(plain, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out
}

fn zstd_frame(plain: &[u8], checksum: bool, content_size: bool) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
    compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(checksum)).unwrap();
    compressor.set_parameter(zstd::zstd_safe::CParameter::ContentSizeFlag(content_size)).unwrap();
    compressor.compress(plain).unwrap()
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn le(value: u32) -> [u8; 4] {
    value.to_le_bytes()
}

impl Parts {
    fn new(gzip: bool, state: &[u8], block_size: usize) -> Self {
        let mut plain: Vec<&[u8]> = state.chunks(block_size).collect();
        if plain.is_empty() {
            plain.push(&[]);
        }
        let blocks: Vec<_> = plain
            .into_iter()
            .map(|block| {
                let frame = if gzip { deflate(block) } else { zstd_block(block) };
                let hash = sha256(&frame);
                (frame.clone(), frame.len() as u32, block.len() as u32, hash)
            })
            .collect();
        let (header, trailer) = if gzip {
            let header = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
            (header, [&[3, 0][..], &le(crc32(state)), &le(state.len() as u32)].concat())
        } else {
            (Vec::new(), Vec::new())
        };
        let data = header.len() + trailer.len() + blocks.iter().map(|block| block.0.len()).sum::<usize>();
        let codec = if gzip { "gzip" } else { "zstd" };
        let mut document = json!({
            "codec": codec,
            "block_size": block_size,
            "table_hash": "@table",
            "metadata": {
                "snapshot_id": "01890a5d-ac96-774b-bcce-b302099a8057",
                "agent_id": "agent",
                "session_id": "session",
                "snapshot_index": 3,
                "timestamp": "2026-01-31T12:00:00.000000Z",
                "description": null,
                "labels": {"env": "test"},
                "content_type": "application/json",
                "content_hash": hex(&sha256(state)),
                "uncompressed_size": state.len(),
                "compressed_size": data,
                "compression_algorithm": codec,
                "format_version": 1,
                "producer": "another/1",
            },
        });
        if gzip {
            document["crc32"] = json!(crc32(state));
        }
        let document = document.to_string();
        Self { gzip, header, blocks, trailer, document, seal: Vec::new(), format: 1, data_length: None }
    }

    fn carry(&self, id: u8, payload: &[u8]) -> Vec<u8> {
        if !self.gzip && payload.is_empty() {
            return Vec::new();
        }
        if !self.gzip {
            let magic = 0x184D_2A51 + b"TMFS".iter().position(|known| *known == id).unwrap() as u32;
            return [&le(magic)[..], &le(payload.len() as u32), payload].concat();
        }
        let members = payload.chunks(16_000).map(|part| {
            let length = (part.len() as u16).to_le_bytes();
            let field = (part.len() as u16 + 4).to_le_bytes();
            [&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff][..], &field, &[b'P', id], &length, part, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat()
        });
        members.collect::<Vec<_>>().concat()
    }

    fn table(&self) -> Vec<u8> {
        self.blocks.iter().flat_map(|(_, encoded, length, hash)| [&le(*encoded)[..], &le(*length), hash].concat()).collect()
    }

    fn data(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        self.blocks.iter().for_each(|block| bytes.extend_from_slice(&block.0));
        bytes.extend_from_slice(&self.trailer);
        bytes
    }

    /// A file with blocks of these lengths.
    fn in_blocks(gzip: bool, state: &[u8], lengths: &[usize]) -> Self {
        let mut parts = Self::new(gzip, state, *lengths.iter().max().unwrap());
        parts.blocks.clear();
        let mut rest = state;
        for length in lengths {
            let (block, after) = rest.split_at(*length);
            rest = after;
            let frame = if gzip { deflate(block) } else { zstd_block(block) };
            parts.blocks.push((frame.clone(), frame.len() as u32, block.len() as u32, sha256(&frame)));
        }
        assert!(rest.is_empty());
        let length = parts.data().len();
        parts.edit(|document| document["metadata"]["compressed_size"] = json!(length));
        parts
    }

    fn bytes(&self) -> Vec<u8> {
        let (mut bytes, table) = (self.data(), self.table());
        let document = self.document.replace("@table", &hex(&sha256(&table)));
        let data_length = self.data_length.unwrap_or(bytes.len() as u64);
        let words = |seal: usize| {
            [
                &b"PERSIST\0"[..],
                &le(self.format),
                &le(seal as u32),
                &data_length.to_le_bytes(),
                &le(table.len() as u32),
                &le(document.len() as u32),
            ]
            .concat()
        };
        let root = sha256(&[&b"persist.root.v1\0"[..], &words(0), document.as_bytes()].concat());
        let digest = sha256(&[&root[..], &self.seal].concat());
        bytes.extend_from_slice(&self.carry(b'T', &table));
        bytes.extend_from_slice(&self.carry(b'M', document.as_bytes()));
        bytes.extend_from_slice(&self.carry(b'S', &self.seal));
        bytes.extend_from_slice(&self.carry(b'F', &[words(self.seal.len()), digest.to_vec()].concat()));
        bytes
    }

    /// Replaces a frame, and updates table and sizes.
    fn reframe(&mut self, index: usize, frame: Vec<u8>) {
        let block = &mut self.blocks[index];
        block.1 = frame.len() as u32;
        block.3 = sha256(&frame);
        block.0 = frame;
        let length = self.data().len();
        self.edit(|document| document["metadata"]["compressed_size"] = json!(length));
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut document: Value = serde_json::from_str(&self.document).unwrap();
        edit(&mut document);
        self.document = document.to_string();
    }
}

/// Restores and verifies a file. Both have the same result.
fn read(bytes: Vec<u8>) -> Result<(Vec<u8>, Metadata), Error> {
    let storage = MemoryStorage::default();
    storage.put(KEY, bytes);
    let state = snapshots::restore(&storage, KEY);
    let verified = verify::verify(&storage, KEY);
    assert_eq!(state.as_ref().err(), verified.as_ref().err());
    Ok((state?, verified?))
}

fn refused(what: &str, parts: &Parts, code: ErrorCode, says: &str) {
    let error = read(parts.bytes()).err().unwrap_or_else(|| panic!("{what} was read"));
    assert_eq!(error.code, code, "{what}: {error}");
    assert!(error.message.contains(says), "{what}: {error}");
}

fn state() -> Vec<u8> {
    (0..3000_u32).flat_map(|number| format!("line {number}\n").into_bytes()).collect()
}

fn both() -> [Parts; 2] {
    [Parts::new(true, &state(), 10_000), Parts::new(false, &state(), 10_000)]
}

#[test]
fn files_of_another_writer_are_read() {
    for gzip in [true, false] {
        for block_size in [1, 10_000, 1 << 20, 8 << 20] {
            for length in [0, 1, 9_999, 10_000, 10_001, 25_000] {
                let state = &state()[..length];
                if block_size == 1 && length > 10_000 {
                    continue;
                }
                let (restored, metadata) = read(Parts::new(gzip, state, block_size).bytes()).unwrap();
                assert!(restored == state, "{gzip} {block_size} {length}");
                assert_eq!(metadata.producer, "another/1");
                assert_eq!(metadata.snapshot_index, 3);
            }
        }
    }
}

/// Both writers make the same file. zstd is left out, because its encoders differ.
#[test]
fn the_library_writes_the_same_file() {
    for size in [0, 1, 25_000, 1 << 20, (1 << 20) + 1, 5 << 18, (5 << 18) + 1] {
        let state: Vec<u8> = state().into_iter().cycle().take(size).collect();
        let storage = MemoryStorage::default();
        let options = SaveOptions {
            agent_id: "agent".to_owned(),
            session_id: "session".to_owned(),
            snapshot_index: 3,
            labels: vec![("env".to_owned(), "test".to_owned())],
            snapshot_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
            timestamp: Some("2026-01-31T13:00:00+01:00".to_owned()),
            ..SaveOptions::default()
        };
        let saved = snapshots::save(&storage, KEY, &state, options).unwrap();
        let mut parts = Parts::new(true, &state, 5 << 18);
        let stored = storage.get(KEY).unwrap();
        // serde_json's map sorts names, but the library writes them in the documented order,
        // so this takes the document from the file.
        let at = stored.windows(9).position(|window| window == b"{\"codec\":").unwrap();
        let document = String::from_utf8(stored[at..stored.len() - 90 - 10].to_vec()).unwrap();
        let (theirs, ours): (Value, Value) = (serde_json::from_str(&document).unwrap(), serde_json::from_str(&parts.document).unwrap());
        let mut expected = ours;
        expected["metadata"]["producer"] = json!(saved.producer);
        expected["table_hash"] = json!(hex(&sha256(&parts.table())));
        assert_eq!(theirs, expected);
        parts.document = document;
        assert!(parts.bytes() == stored, "{size}");
    }
}

#[test]
fn unknown_metadata_is_kept_digit_by_digit() {
    for mut parts in both() {
        let known = parts.document.clone();
        parts.document = known.replacen(
            "\"metadata\":{",
            "\"later\":[1],\"metadata\":{\"big\":123456789012345678901,\"deep\":{\"a\": [1.50,\n\"b \\\" c\"]},",
            1,
        );
        assert_ne!(parts.document, known);
        let (_, metadata) = read(parts.bytes()).unwrap();
        assert_eq!(metadata.extra, r#"{"big":123456789012345678901,"deep":{"a":[1.50,"b \" c"]}}"#);
    }
}

#[test]
fn a_newer_format_is_named() {
    for mut parts in both() {
        for format in [2, 77, u32::MAX] {
            parts.format = format;
            refused("format", &parts, ErrorCode::UnsupportedFormat, &format!("format {format}"));
        }
        // Zeros in place of the end of a file look like format 0.
        parts.format = 0;
        refused("format", &parts, ErrorCode::Integrity, "format 0, which does not exist");
    }
}

#[test]
fn blocks_may_differ_in_length() {
    for gzip in [true, false] {
        let state = &state()[..25_000];
        for lengths in [&[1, 9_999, 5, 14_995][..], &[10_000, 1, 14_999], &[24_999, 1]] {
            let (restored, metadata) = read(Parts::in_blocks(gzip, state, lengths).bytes()).unwrap();
            assert!(restored == state, "{lengths:?}");
            assert_eq!(metadata.uncompressed_size, 25_000);
        }
    }
}

#[test]
fn a_seal_is_kept_and_covered_by_the_digest_but_not_checked() {
    for parts in both() {
        let (_, plain) = read(parts.bytes()).unwrap();
        assert!(!plain.is_sealed);
        for length in [1, 64, 4096] {
            let sealed = Parts { seal: vec![0xa5; length], ..parts.clone() };
            let (restored, metadata) = read(sealed.bytes()).unwrap();
            assert!(restored == state() && metadata.is_sealed);
            assert_ne!(metadata.digest, plain.digest, "the digest covers the seal");
            assert_eq!(metadata.root, plain.root, "a seal does not change what it signs");
            assert_eq!(metadata.digest, hex(&sha256(&[unhex(&metadata.root), vec![0xa5; length]].concat())));
            // Sealing changes the footer and adds a carrier, and nothing else.
            let (unsealed, sealed) = (parts.bytes(), sealed.bytes());
            let footer = if parts.gzip { 90 } else { 72 };
            assert!(sealed.starts_with(&unsealed[..unsealed.len() - footer]));
            assert!(craft::sealed(parts.gzip, &unsealed, &vec![0xa5; length]) == sealed);
        }
        let too_long = Parts { seal: vec![0; 4097], ..parts.clone() };
        refused("seal", &too_long, ErrorCode::InvalidFormat, "at most 4096");
        let mut flipped = Parts { seal: vec![7; 64], ..parts }.bytes();
        let at = flipped.windows(64).position(|window| window == [7; 64]).unwrap();
        flipped[at + 63] ^= 1;
        assert_eq!(read(flipped).unwrap_err().code, ErrorCode::Integrity);
    }
}
