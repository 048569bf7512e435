//! The format as `docs/format.md` has it, written down a second time: files
//! that this small writer makes are read, and each broken rule is refused.
//! gzip's frames come from flate2, zstd's from the C library.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../tests/support/craft.rs"]
mod craft;

use flate2::{Compress, Compression, FlushCompress};
use persist_guest::error::{Error, ErrorCode};
use persist_guest::memory::MemoryStorage;
use persist_guest::restore::Restorer;
use persist_guest::{MAX_METADATA, Metadata, SaveOptions, snapshots, verify};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const KEY: &str = "x";

/// A snapshot in parts; `bytes` puts them together with a digest that fits, so
/// that what is wrong with a part is all that is wrong.
#[derive(Clone)]
struct Parts {
    gzip: bool,
    header: Vec<u8>,
    /// Frame, declared frame length, declared length, hash.
    blocks: Vec<(Vec<u8>, u32, u32, [u8; 32])>,
    trailer: Vec<u8>,
    /// In which `@table` stands for the table's hash.
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

/// A frame of zstd with the header that the format asks for.
fn zstd_block(plain: &[u8]) -> Vec<u8> {
    craft::with_header(&zstd_frame(plain, true, true), plain.len() as u64)
}

/// Raw deflate from an empty window, ended by a sync flush.
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

    /// The same file in blocks of these lengths.
    fn in_blocks(gzip: bool, state: &[u8], lengths: &[usize]) -> Self {
        let mut parts = Self::new(gzip, state, *lengths.iter().max().unwrap());
        parts.blocks.clear();
        let mut rest = state;
        for length in lengths {
            let (block, behind) = rest.split_at(*length);
            rest = behind;
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

    /// Replaces a frame, with table and sizes that fit to it.
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

/// Restores and verifies: both say the same.
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

/// What this writer makes of a state is, but for frames that another encoder
/// may cut otherwise, what the library makes of it.
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
        // serde_json's map sorts its names; the library writes them in the
        // documented order. That document is taken from the file.
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
        // There is none before the first: zeros, where an end was.
        parts.format = 0;
        refused("format", &parts, ErrorCode::Integrity, "format 0, which there is not");
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
fn a_seal_is_carried_and_counted_but_not_asked() {
    for parts in both() {
        let (_, plain) = read(parts.bytes()).unwrap();
        assert!(!plain.is_sealed);
        for length in [1, 64, 4096] {
            let sealed = Parts { seal: vec![0xa5; length], ..parts.clone() };
            let (restored, metadata) = read(sealed.bytes()).unwrap();
            assert!(restored == state() && metadata.is_sealed);
            assert_ne!(metadata.digest, plain.digest, "every bit of a seal counts");
            assert_eq!(metadata.root, plain.root, "what is signed stays the same");
            assert_eq!(metadata.digest, hex(&sha256(&[unhex(&metadata.root), vec![0xa5; length]].concat())));
            // Sealing changes the footer and adds a carrier; the rest stays, byte for byte.
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

#[test]
fn an_object_of_another_kind_is_named_before_anything_else_of_it() {
    for mut parts in both() {
        parts.edit(|document| document["kind"] = json!("snapshot"));
        assert_eq!(read(parts.bytes()).unwrap().1.kind, "snapshot");
        parts.edit(|document| *document = json!({"kind": "step", "later": true}));
        refused("kind", &parts, ErrorCode::WrongKind, "of the kind 'step'");
        parts.edit(|document| document["kind"] = json!("\u{1b}[2J".repeat(1000)));
        let error = read(parts.bytes()).unwrap_err();
        assert_eq!(error.code, ErrorCode::WrongKind);
        assert!(error.message.contains("\\u{1b}[2J") && !error.message.contains('\u{1b}') && error.message.len() < 2500, "{error}");
    }
}

#[test]
fn a_table_is_the_one_that_the_metadata_names() {
    for mut parts in both() {
        parts.document = parts.document.replace("@table", &"0".repeat(64));
        refused("table", &parts, ErrorCode::Integrity, "block table was changed");
        // What a snapshot says of itself does not need the table.
        let storage = MemoryStorage::default();
        storage.put(KEY, parts.bytes());
        assert_eq!(snapshots::metadata(&storage, KEY).unwrap().snapshot_index, 3);
    }
}

#[test]
fn what_a_hostile_document_says_is_quoted_within_bounds() {
    let evil = format!("\u{1b}]0;owned\u{7}\u{202e}{}", "x".repeat(5000));
    for parts in both() {
        for name in ["codec", "snapshot_id", "timestamp", "compression_algorithm", "labels", "snapshot_index", "content_hash"] {
            let mut parts = parts.clone();
            parts.edit(|document| {
                if name == "codec" {
                    document["codec"] = json!(evil);
                } else {
                    document["metadata"][name] = json!(evil);
                }
            });
            let error = read(parts.bytes()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidFormat);
            assert!(!error.message.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{name}: {}", error.message);
            assert!(error.message.len() < 2500, "{name}: {} bytes", error.message.len());
        }
        let twice = parts.document.replacen('{', &format!("{{{0}:1,{0}:2,", json!(evil)), 1);
        let error = read(Parts { document: twice, ..parts }.bytes()).unwrap_err();
        assert!(error.message.contains("not unique") && error.message.len() < 2500, "{error}");
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    for parts in both() {
        let data = parts.data().len() as u64;
        for length in [0, data - 1, data + 1, data * 2, u64::from(u32::MAX), u64::MAX] {
            let parts = Parts { data_length: Some(length), ..parts.clone() };
            refused("data length", &parts, ErrorCode::Integrity, "declares");
        }
        for (declared, length) in [(0, 10_000), (u32::MAX, 10_000), (70, u32::MAX), (70, 10_001), (70, 0), (11_300, 10_000)] {
            let mut parts = parts.clone();
            (parts.blocks[0].1, parts.blocks[0].2) = (declared, length);
            refused("row", &parts, ErrorCode::InvalidFormat, "block 0");
        }
        let mut longer = parts.clone();
        longer.blocks[0].2 -= 1;
        refused("sum", &longer, ErrorCode::InvalidFormat, "sizes");
        // Sums that agree, blocks that don't.
        let mut shifted = parts.clone();
        shifted.blocks[0].2 -= 1;
        let last = shifted.blocks.len() - 1;
        shifted.blocks[last].2 += 1;
        refused("shifted", &shifted, ErrorCode::InvalidFormat, "a frame");
    }
}

#[test]
fn a_table_has_rows() {
    for mut parts in both() {
        parts.blocks.clear();
        let length = parts.data().len();
        parts.edit(|document| {
            document["metadata"]["compressed_size"] = json!(length);
            document["metadata"]["uncompressed_size"] = json!(0);
        });
        assert!(read(parts.bytes()).is_err());
    }
}

#[test]
fn a_frame_holds_its_block_and_nothing_else() {
    let block = &state()[..10_000];
    let [gzip, zstd] = both();
    let cases = [
        ("longer", deflate(&state()[..10_001])),
        ("shorter", deflate(&block[..9_999])),
        ("cut", deflate(block)[..60].to_vec()),
        ("two flushes", [deflate(&block[..5_000]), deflate(&block[5_000..])].concat()),
        ("a byte behind", [deflate(block), vec![0]].concat()),
        ("garbage", vec![0xff; 90]),
        ("an end inside", [vec![3, 0], deflate(block)].concat()),
    ];
    for (what, frame) in cases {
        let mut parts = gzip.clone();
        parts.reframe(0, frame);
        let outcome = read(parts.bytes());
        // Two runs of deflate blocks are one, by the rules of deflate.
        if what == "two flushes" {
            assert!(outcome.unwrap().0 == state());
        } else {
            assert_eq!(outcome.err().map(|error| error.code), Some(ErrorCode::InvalidFormat), "{what}");
        }
    }
    // A frame that refers back to the one before it.
    let mut dependent = gzip.clone();
    let mut compress = Compress::new(Compression::new(6), false);
    let mut frames = [Vec::with_capacity(20_000), Vec::with_capacity(20_000)];
    for (frame, plain) in frames.iter_mut().zip(state().chunks(10_000)) {
        compress.compress_vec(plain, frame, FlushCompress::Sync).unwrap();
    }
    let [_, second] = frames;
    dependent.reframe(1, second);
    refused("dependent", &dependent, ErrorCode::InvalidFormat, "gzip");

    let skippable = vec![0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    let size = 10_000_u64.to_le_bytes();
    let cases = [
        ("longer", zstd_block(&state()[..10_001])),
        ("shorter", zstd_block(&block[..9_999])),
        ("another header", zstd_frame(block, true, true)),
        ("no checksum", zstd_frame(block, false, true)),
        ("no size", zstd_frame(block, true, false)),
        ("cut", zstd_block(block)[..60].to_vec()),
        ("two frames", [zstd_block(&block[..5_000]), zstd_block(&block[5_000..])].concat()),
        ("a byte behind", [zstd_block(block), vec![0]].concat()),
        ("a skippable frame behind", [zstd_block(block), skippable.clone()].concat()),
        ("a skippable frame before", [skippable.clone(), zstd_block(block)].concat()),
        ("a skippable frame alone", skippable),
        ("a window smaller than the block", [&[0x28, 0xb5, 0x2f, 0xfd, 0xc4, 0][..], &size, &zstd_block(block)[13..]].concat()),
        ("a window of terabytes", [&[0x28, 0xb5, 0x2f, 0xfd, 0xc4, 0xff][..], &size, &zstd_block(block)[13..]].concat()),
        ("a reserved bit", [&[0x28, 0xb5, 0x2f, 0xfd, 0xec][..], &size, &zstd_block(block)[13..]].concat()),
        ("an unused bit", [&[0x28, 0xb5, 0x2f, 0xfd, 0xf4][..], &size, &zstd_block(block)[13..]].concat()),
        ("a dictionary", [&[0x28, 0xb5, 0x2f, 0xfd, 0xe5, 0][..], &size, &zstd_block(block)[13..]].concat()),
        ("a wrong checksum", {
            let mut frame = zstd_block(block);
            *frame.last_mut().unwrap() ^= 1;
            frame
        }),
    ];
    for (what, frame) in cases {
        let mut parts = zstd.clone();
        parts.reframe(0, frame);
        refused(what, &parts, ErrorCode::InvalidFormat, "zstd");
    }
}

#[test]
fn header_and_trailer_are_what_they_have_to_be() {
    let [gzip, _] = both();
    for (index, value) in [(3, 8), (4, 1), (8, 2), (9, 3)] {
        let mut parts = gzip.clone();
        parts.header[index] = value;
        refused("header", &parts, ErrorCode::Integrity, "header");
    }
    for index in 0..gzip.trailer.len() {
        let mut parts = gzip.clone();
        parts.trailer[index] ^= 1;
        refused("trailer", &parts, ErrorCode::Integrity, "checksum");
    }
    // A wrong CRC in document and trailer alike: no other tool takes the state.
    let mut lying = gzip;
    lying.trailer[2] ^= 1;
    let crc32 = u32::from_le_bytes(lying.trailer[2..6].try_into().unwrap());
    lying.edit(|document| document["crc32"] = json!(crc32));
    refused("crc", &lying, ErrorCode::Integrity, "CRC-32");
}

#[test]
fn a_state_that_contradicts_its_content_hash_is_not_given_out() {
    for mut parts in both() {
        parts.edit(|document| document["metadata"]["content_hash"] = json!(hex(&sha256(b"another state"))));
        let storage = MemoryStorage::default();
        storage.put(KEY, parts.bytes());
        for error in [snapshots::restore(&storage, KEY).unwrap_err(), verify::verify(&storage, KEY).unwrap_err()] {
            assert_eq!(error.code, ErrorCode::Integrity);
            assert!(error.details.contains(&("found".to_owned(), hex(&sha256(&state())))));
        }
        // A stream that checks does not come to its end, one that does not is
        // checked by who reads it.
        for checks in [true, false] {
            let mut restorer = Restorer::open(&storage, KEY, checks).unwrap();
            let end = loop {
                match restorer.read(1000) {
                    Ok(chunk) if chunk.is_empty() => break restorer.check(sha256(&state()), crc32(&state())),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            };
            assert_eq!(end.unwrap_err().code, ErrorCode::Integrity);
        }
    }
}

#[test]
fn a_document_breaks_no_rule() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 34] = [
        ("root", |document| document["metadata"]["root"] = json!("00")),
        ("digest", |document| document["metadata"]["digest"] = json!("00")),
        ("stored_size", |document| document["metadata"]["stored_size"] = json!(1)),
        ("snapshot_index", |document| document["metadata"]["snapshot_index"] = json!(1_u64 << 53)),
        ("codec", |document| document["codec"] = json!("lzma")),
        ("codec", |document| document["codec"] = json!(7)),
        ("codec", |document| drop(document.as_object_mut().unwrap().remove("codec"))),
        ("block size", |document| document["block_size"] = json!(0)),
        ("block size", |document| document["block_size"] = json!((8 << 20) + 1)),
        ("block_size", |document| document["block_size"] = json!(-1)),
        ("metadata", |document| drop(document.as_object_mut().unwrap().remove("metadata"))),
        ("metadata", |document| document["metadata"] = json!([])),
        ("agent_id", |document| drop(document["metadata"].as_object_mut().unwrap().remove("agent_id"))),
        ("agent_id", |document| document["metadata"]["agent_id"] = json!(1)),
        ("snapshot_index", |document| document["metadata"]["snapshot_index"] = json!(1.5)),
        ("content_hash", |document| document["metadata"]["content_hash"] = json!("ABC")),
        ("table_hash", |document| drop(document.as_object_mut().unwrap().remove("table_hash"))),
        ("table_hash", |document| document["table_hash"] = json!("00")),
        ("snapshot_id", |document| document["metadata"]["snapshot_id"] = json!("17")),
        ("snapshot_id", |document| document["metadata"]["snapshot_id"] = json!("01890A5D-AC96-774B-BCCE-B302099A8057")),
        ("snapshot_id", |document| document["metadata"]["snapshot_id"] = json!("01890a5dac96774bbcceb302099a8057")),
        ("timestamp", |document| document["metadata"]["timestamp"] = json!("yesterday")),
        ("timestamp", |document| document["metadata"]["timestamp"] = json!("2026-01-31T12:00:00Z")),
        ("timestamp", |document| document["metadata"]["timestamp"] = json!("2026-01-31T12:00:00.000000+00:00")),
        ("timestamp", |document| document["metadata"]["timestamp"] = json!("2026-02-30T12:00:00.000000Z")),
        ("timestamp", |document| document["metadata"]["timestamp"] = json!("2026-01-31 12:00:00.000000Z")),
        ("kind", |document| document["metadata"]["kind"] = json!("snapshot")),
        ("seal", |document| document["metadata"]["seal"] = json!("checked")),
        ("labels", |document| document["metadata"]["labels"] = json!({"a": 1})),
        ("format", |document| document["metadata"]["format_version"] = json!(2)),
        ("gzip", |document| document["metadata"]["compression_algorithm"] = json!("none")),
        ("uncompressed_size", |document| document["metadata"]["uncompressed_size"] = json!("1")),
        ("sizes", |document| document["metadata"]["uncompressed_size"] = json!(1)),
        ("sizes", |document| document["metadata"]["compressed_size"] = json!(u64::MAX)),
    ];
    for parts in both() {
        for (says, edit) in edits {
            let mut parts = parts.clone();
            parts.edit(edit);
            let says = if says == "gzip" && !parts.gzip { "zstd" } else { says };
            refused(says, &parts, ErrorCode::InvalidFormat, says);
        }
    }
    let texts = [
        ("not JSON", "{".to_owned()),
        ("two documents", format!("{} {{}}", both()[0].document)),
        (
            "too deep",
            both()[0].document.replacen(
                "\"metadata\":{",
                &format!("\"metadata\":{{\"x\":{}{},", "[".repeat(10_000), "]".repeat(10_000)),
                1,
            ),
        ),
        ("twice outside", both()[0].document.replacen('{', "{\"codec\":\"gzip\",", 1)),
        ("twice inside", both()[0].document.replacen("\"metadata\":{", "\"metadata\":{\"agent_id\":\"b\",", 1)),
        ("twice in labels", both()[0].document.replacen("\"labels\":{", "\"labels\":{\"env\":\"b\",", 1)),
        ("twice unknown", both()[0].document.replacen("\"metadata\":{", "\"metadata\":{\"x\":1,\"x\":2,", 1)),
        ("a list", "[]".to_owned()),
        ("too long", both()[0].document.replacen('{', &format!("{{{}", " ".repeat(MAX_METADATA)), 1)),
        ("empty", String::new()),
    ];
    for (what, document) in texts {
        let parts = Parts { document, ..both()[0].clone() };
        let error = read(parts.bytes()).err().unwrap_or_else(|| panic!("{what} was read"));
        assert_eq!(error.code, ErrorCode::InvalidFormat, "{what}: {error}");
    }
}

#[test]
fn a_document_of_the_other_codec_is_refused() {
    let [gzip, zstd] = both();
    let mixed = Parts { document: zstd.document.clone(), ..gzip.clone() };
    assert_eq!(read(mixed.bytes()).unwrap_err().code, ErrorCode::InvalidFormat);
}

#[test]
fn blocks_beyond_the_limit_are_refused_by_their_number() {
    // More rows than are read, without their frames.
    let mut parts = Parts::new(true, &[], 1);
    parts.blocks = vec![(Vec::new(), 10, 1, [0; 32]); persist_guest::MAX_BLOCKS as usize + 1];
    refused("rows", &parts, ErrorCode::LimitExceeded, "262144");
}

#[test]
fn what_is_no_snapshot_is_named() {
    let gzip = || {
        let mut encoder = flate2::GzBuilder::new().mtime(1).write(Vec::new(), Compression::default());
        std::io::Write::write_all(&mut encoder, b"a log").unwrap();
        encoder.finish().unwrap()
    };
    let cut = Parts::new(true, &state(), 10_000).bytes();
    let cases = [
        (Vec::new(), ErrorCode::NotASnapshot, "empty"),
        (gzip(), ErrorCode::NotASnapshot, "a gzip file that Persist did not write"),
        (b"\x89PNG\r\n\x1a\n and so on".to_vec(), ErrorCode::NotASnapshot, "neither gzip nor zstd"),
        (b"{\"messages\": []}".to_vec(), ErrorCode::NotASnapshot, "neither gzip nor zstd"),
        (zstd_frame(b"a log", true, true), ErrorCode::NotASnapshot, "a zstd file that Persist did not write"),
        (zstd_block(&state()), ErrorCode::InvalidFormat, "cut short"),
        (zstd_block(&state())[..40].to_vec(), ErrorCode::InvalidFormat, "cut short"),
        (cut[..100].to_vec(), ErrorCode::InvalidFormat, "cut short"),
        (vec![0; 200_000], ErrorCode::NotASnapshot, "neither gzip nor zstd"),
    ];
    for (bytes, code, says) in cases {
        // Others write the same header of gzip, and nobody else that of zstd.
        let is_certain = !(code == ErrorCode::InvalidFormat && bytes.starts_with(&[0x1f, 0x8b]));
        let error = read(bytes).unwrap_err();
        assert_eq!(error.code, code);
        assert!(error.message.contains(says), "{error}");
        let expected = if is_certain { vec![] } else { vec![("certain".to_owned(), "no".to_owned())] };
        assert_eq!(error.details, expected, "{error}");
    }
    let mut longer = cut;
    longer.extend_from_slice(b"more");
    let error = read(longer).unwrap_err();
    assert_eq!(error.code, ErrorCode::Integrity);
    assert!(error.message.contains("does not end with its footer"), "{error}");
    assert!(error.details.is_empty(), "a footer is Persist's alone: {error}");
}

#[test]
fn a_bomb_does_not_go_off() {
    // A frame that inflates to 8 MiB, declared as 100 bytes.
    let bomb = vec![0; 8 << 20];
    for (gzip, frame) in [(true, deflate(&bomb)), (false, zstd_block(&bomb))] {
        let mut parts = Parts::new(gzip, &[7; 100], 100);
        let before = parts.blocks[0].1;
        parts.reframe(0, frame);
        assert!(parts.blocks[0].1 > before);
        if gzip {
            // Too long for 100 bytes, already by the table.
            refused("bomb", &parts, ErrorCode::InvalidFormat, "block 0");
        } else {
            refused("bomb", &parts, ErrorCode::InvalidFormat, "not that of a block of its length");
        }
    }
}
