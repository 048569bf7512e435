//! The format as `docs/format.md` has it, written down a second time: files
//! that this small writer makes are read, and each broken rule is refused.
//! gzip's frames come from flate2, zstd's from the C library.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use flate2::{Compress, Compression, FlushCompress};
use persist_guest::error::{Error, ErrorCode};
use persist_guest::memory::MemoryStorage;
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
    document: String,
    format: u32,
    reserved: u32,
    data_length: Option<u64>,
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
                let frame = if gzip { deflate(block) } else { zstd_frame(block, true, true) };
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
        Self { gzip, header, blocks, trailer, document, format: 1, reserved: 0, data_length: None }
    }

    fn carry(&self, id: u8, payload: &[u8]) -> Vec<u8> {
        if !self.gzip {
            let magic = 0x184D_2A51 + b"TMF".iter().position(|known| *known == id).unwrap() as u32;
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

    fn bytes(&self) -> Vec<u8> {
        let (mut bytes, table) = (self.data(), self.table());
        let data_length = self.data_length.unwrap_or(bytes.len() as u64);
        let mut footer = [
            &b"PERSIST\0"[..],
            &le(self.format),
            &le(self.reserved),
            &data_length.to_le_bytes(),
            &le(table.len() as u32),
            &le(self.document.len() as u32),
        ]
        .concat();
        let digest = sha256(&[&footer[..], &table, self.document.as_bytes()].concat());
        footer.extend_from_slice(&digest);
        bytes.extend_from_slice(&self.carry(b'T', &table));
        bytes.extend_from_slice(&self.carry(b'M', self.document.as_bytes()));
        bytes.extend_from_slice(&self.carry(b'F', &footer));
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
        for format in [0, 2, 77, u32::MAX] {
            parts.format = format;
            refused("format", &parts, ErrorCode::UnsupportedFormat, &format!("format {format}"));
        }
    }
}

#[test]
fn the_reserved_word_is_zero() {
    for mut parts in both() {
        parts.reserved = 1;
        refused("reserved", &parts, ErrorCode::Integrity, "footer");
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

    let cases = [
        ("longer", zstd_frame(&state()[..10_001], true, true)),
        ("shorter", zstd_frame(&block[..9_999], true, true)),
        ("no checksum", zstd_frame(block, false, true)),
        ("no size", zstd_frame(block, true, false)),
        ("cut", zstd_frame(block, true, true)[..60].to_vec()),
        ("two frames", [zstd_frame(&block[..5_000], true, true), zstd_frame(&block[5_000..], true, true)].concat()),
        ("a byte behind", [zstd_frame(block, true, true), vec![0]].concat()),
        ("a skippable frame behind", [zstd_frame(block, true, true), vec![0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]].concat()),
        ("a wrong checksum", {
            let mut frame = zstd_frame(block, true, true);
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
    // A wrong CRC in document and trailer alike: only verify recomputes it.
    let mut lying = gzip;
    lying.trailer[2] ^= 1;
    let crc32 = u32::from_le_bytes(lying.trailer[2..6].try_into().unwrap());
    lying.edit(|document| document["crc32"] = json!(crc32));
    let storage = MemoryStorage::default();
    storage.put(KEY, lying.bytes());
    assert_eq!(verify::verify(&storage, KEY).unwrap_err().code, ErrorCode::Integrity);
}

#[test]
fn a_content_hash_that_lies_is_found_by_verify() {
    for mut parts in both() {
        parts.edit(|document| document["metadata"]["content_hash"] = json!(hex(&sha256(b"another state"))));
        let storage = MemoryStorage::default();
        storage.put(KEY, parts.bytes());
        let error = verify::verify(&storage, KEY).unwrap_err();
        assert_eq!(error.code, ErrorCode::Integrity);
        assert!(error.details.contains(&("found".to_owned(), hex(&sha256(&state())))));
    }
}

#[test]
fn a_document_breaks_no_rule() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 21] = [
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
    // More rows than are read, without a byte of data behind them.
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
        (zstd_frame(b"a log", true, true), ErrorCode::NotASnapshot, "no footer"),
        (cut[..100].to_vec(), ErrorCode::InvalidFormat, "cut short"),
        (vec![0; 200_000], ErrorCode::NotASnapshot, "neither gzip nor zstd"),
    ];
    for (bytes, code, says) in cases {
        let error = read(bytes).unwrap_err();
        assert_eq!(error.code, code);
        assert!(error.message.contains(says), "{error}");
    }
    let mut longer = cut;
    longer.extend_from_slice(b"more");
    let error = read(longer).unwrap_err();
    assert_eq!(error.code, ErrorCode::Integrity);
    assert!(error.message.contains("does not end with its footer"), "{error}");
}

#[test]
fn a_bomb_does_not_go_off() {
    // A frame that inflates to 8 MiB, declared as 100 bytes.
    let bomb = vec![0; 8 << 20];
    for (gzip, frame) in [(true, deflate(&bomb)), (false, zstd_frame(&bomb, true, true))] {
        let mut parts = Parts::new(gzip, &[7; 100], 100);
        let before = parts.blocks[0].1;
        parts.reframe(0, frame);
        assert!(parts.blocks[0].1 > before);
        if gzip {
            // Too long for 100 bytes, already by the table.
            refused("bomb", &parts, ErrorCode::InvalidFormat, "block 0");
        } else {
            refused("bomb", &parts, ErrorCode::InvalidFormat, "another size");
        }
    }
}
