//! The snapshots in `tests/golden` are kept for ever: every later version must read them,
//! and this version writes the same bytes. If `PERSIST_WRITE_GOLDEN` is set, missing files
//! are written first. This is for a new producer or codec, whose files get their own folder
//! next to the old ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use persist_guest::codec::Codec;
use persist_guest::memory::MemoryStorage;
use persist_guest::{Metadata, SaveOptions, snapshots, verify};
use persist_test_support::craft;
use persist_test_support::workspace::workspace;

/// The name of a folder of golden files: the software that wrote them.
const PRODUCER: &str = concat!("persist-", env!("CARGO_PKG_VERSION"));

// These bytes are in the golden files.
const SEAL: &[u8] = b"a seal of a later version, which this one does not know";

struct Golden {
    name: &'static str,
    state: Vec<u8>,
    level: Option<i32>,
    is_sealed: bool,
}

/// The golden files of a codec: an empty state, one block (sealed), several blocks.
fn all(codec: Codec) -> [Golden; 3] {
    let text = "{\"messages\": [{\"role\": \"user\", \"content\": \"Grüße, 世界 \u{1f44b}\"}]}\n".as_bytes().to_vec();
    let lines = |number: u32| format!("{{\"step\": {}, \"tool\": \"search\", \"ok\": true}}\n", number / 64).into_bytes();
    let level = match codec {
        Codec::Gzip => 9,
        Codec::Zstd => -3,
    };
    [
        Golden { name: "empty", state: Vec::new(), level: None, is_sealed: false },
        Golden { name: "sealed", state: text, level: None, is_sealed: true },
        Golden { name: "blocks", state: (0..70_000).flat_map(lines).collect(), level: Some(level), is_sealed: false },
    ]
}

fn folder() -> PathBuf {
    workspace().join("tests/golden")
}

fn file_name(golden: &Golden, codec: Codec) -> String {
    format!("{}.json.{}", golden.name, if codec == Codec::Gzip { "gz" } else { "zst" })
}

/// Sets every field.
fn options(golden: &Golden, codec: Codec) -> SaveOptions {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    SaveOptions {
        agent_id: "agent «1»".to_owned(),
        session_id: format!("session of {}", golden.name),
        snapshot_index: (1 << 53) - 1,
        description: Some("A note\nof \"two\" lines, and \u{1f600}".to_owned()),
        labels: vec![pair("env", "test"), pair("ünïcode", "ja"), pair("", "an empty name")],
        content_type: Some("application/x-ndjson".to_owned()),
        extra: Some(r#"{"framework": {"name": "none", "versions": [1, 2.50]}, "big": 123456789012345678901}"#.to_owned()),
        codec: Some(codec),
        level: golden.level,
        snapshot_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
        timestamp: Some("2026-01-31T13:00:00.123456+01:00".to_owned()),
        ..SaveOptions::default()
    }
}

fn written(golden: &Golden, codec: Codec) -> Vec<u8> {
    let storage = MemoryStorage::default();
    snapshots::save(&storage, "x", &golden.state, options(golden, codec)).unwrap();
    let plain = storage.get("x").unwrap();
    if golden.is_sealed { craft::sealed(codec == Codec::Gzip, &plain, SEAL) } else { plain }
}

fn check(golden: &Golden, codec: Codec, file: Vec<u8>) {
    let name = file_name(golden, codec);
    let size = file.len() as u64;
    let storage = MemoryStorage::default();
    storage.put(&name, file);
    assert!(snapshots::restore(&storage, &name).unwrap() == golden.state, "{name}");
    let metadata = snapshots::metadata(&storage, &name).unwrap();
    assert_eq!(verify::verify(&storage, &name).unwrap(), metadata);
    let options = options(golden, codec);
    let expected = Metadata {
        key: name,
        kind: "snapshot".to_owned(),
        snapshot_id: options.snapshot_id.unwrap(),
        agent_id: options.agent_id,
        session_id: options.session_id,
        snapshot_index: options.snapshot_index,
        timestamp: "2026-01-31T12:00:00.123456Z".to_owned(),
        description: options.description,
        labels: options.labels.into_iter().collect(),
        content_type: options.content_type.unwrap(),
        extra: r#"{"framework":{"name":"none","versions":[1,2.50]},"big":123456789012345678901}"#.to_owned(),
        uncompressed_size: golden.state.len() as u64,
        compression_algorithm: codec,
        format_version: 1,
        is_sealed: golden.is_sealed,
        stored_size: size,
        // The rest follows from the bytes, which were verified.
        ..metadata.clone()
    };
    assert_eq!(metadata, expected);
}

#[test]
fn golden_files_are_read_and_written_to_the_same_bytes() {
    let current = folder().join(PRODUCER);
    if std::env::var_os("PERSIST_WRITE_GOLDEN").is_some() {
        fs::create_dir_all(&current).unwrap();
        for codec in [Codec::Gzip, Codec::Zstd] {
            for golden in &all(codec) {
                let path = current.join(file_name(golden, codec));
                if !path.exists() {
                    fs::write(path, written(golden, codec)).unwrap();
                }
            }
        }
    }
    let mut folders = 0;
    for producer in fs::read_dir(folder()).unwrap() {
        let producer = producer.unwrap().path();
        if !producer.is_dir() {
            continue;
        }
        folders += 1;
        for codec in [Codec::Gzip, Codec::Zstd] {
            for golden in &all(codec) {
                let path = producer.join(file_name(golden, codec));
                let file = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                if producer == current {
                    assert!(written(golden, codec) == file, "{} now has different bytes", path.display());
                }
                check(golden, codec, file);
            }
        }
    }
    assert!(folders >= 1 && current.is_dir(), "the files of {PRODUCER} are missing");
}
