//! The options of a save, and what is refused before any of the state is read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use persist_guest::codec::Codec;
use persist_guest::error::ErrorCode;
use persist_guest::memory::MemoryStorage;
use persist_guest::{Metadata, SaveOptions, snapshots};

fn save(key: &str, options: SaveOptions) -> Result<Metadata, persist_guest::error::Error> {
    snapshots::save(&MemoryStorage::default(), key, b"{}", options)
}

fn refused(options: SaveOptions, says: &str) {
    let error = save("x.json.gz", options).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert_eq!(error.key.as_deref(), Some("x.json.gz"));
    assert!(error.message.contains(says), "{error}");
}

#[test]
fn the_key_decides_the_codec_unless_told_otherwise() {
    for (key, codec) in
        [("a.json.gz", Codec::Gzip), ("a.json.zst", Codec::Zstd), ("a", Codec::Gzip), ("a.zst.gz", Codec::Gzip), (".zst", Codec::Zstd)]
    {
        assert_eq!(save(key, SaveOptions::default()).unwrap().compression_algorithm, codec);
    }
    let options = SaveOptions { codec: Some(Codec::Gzip), ..SaveOptions::default() };
    assert_eq!(save("a.zst", options).unwrap().compression_algorithm, Codec::Gzip);
}

#[test]
fn levels_are_those_of_the_codec() {
    for (codec, good, bad) in
        [(Codec::Gzip, vec![1, 9], vec![-1, 0, 10, i32::MAX]), (Codec::Zstd, vec![-7, -1, 1, 4], vec![-8, 0, 5, i32::MIN])]
    {
        let options = |level| SaveOptions { codec: Some(codec), level: Some(level), ..SaveOptions::default() };
        for level in good {
            save("x", options(level)).unwrap();
        }
        for level in bad {
            refused(options(level), "has no level");
        }
    }
}

#[test]
fn times_are_stored_in_one_form() {
    for (given, stored) in [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31t12:00:00.123456789+02:00", "2026-01-31T10:00:00.123456Z"),
        ("2026-01-01T00:30:00.5+01:00", "2025-12-31T23:30:00.500000Z"),
    ] {
        let options = SaveOptions { timestamp: Some(given.to_owned()), ..SaveOptions::default() };
        assert_eq!(save("x", options).unwrap().timestamp, stored);
    }
    for wrong in ["", "yesterday", "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "9999-12-31T23:59:59-01:00"] {
        refused(SaveOptions { timestamp: Some(wrong.to_owned()), ..SaveOptions::default() }, "timestamp");
    }
}

#[test]
fn a_new_snapshot_has_an_id_and_a_time_of_its_own() {
    let first = save("x", SaveOptions::default()).unwrap();
    let second = save("x", SaveOptions::default()).unwrap();
    assert_ne!(first.snapshot_id, second.snapshot_id);
    let id = uuid::Uuid::parse_str(&first.snapshot_id).unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert!(first.timestamp <= second.timestamp);
    assert_eq!(first.content_type, "application/json");
    refused(SaveOptions { snapshot_id: Some("17".to_owned()), ..SaveOptions::default() }, "UUID");
}

#[test]
fn extra_metadata_is_one_object_of_new_names() {
    let extra = |text: &str| SaveOptions { extra: Some(text.to_owned()), ..SaveOptions::default() };
    assert_eq!(
        save("x", extra(r#"{"adapter": {"name": "a"}, "n": 10000000000000000000000}"#)).unwrap().extra,
        r#"{"adapter":{"name":"a"},"n":10000000000000000000000}"#
    );
    assert_eq!(save("x", SaveOptions::default()).unwrap().extra, "{}");
    for wrong in ["", "[]", "1", "{", r#"{"a":1,"a":2}"#, "{} {}", r#"{"n": 1e999}"#] {
        refused(extra(wrong), "metadata");
    }
    for standard in ["agent_id", "key", "root", "digest", "etag", "stored_size", "format_version", "kind", "seal", "encryption"] {
        refused(extra(&format!("{{\"{standard}\": 1}}")), standard);
    }
    refused(extra(&format!("{{\"deep\": {}{}}}", "[".repeat(1000), "]".repeat(1000))), "deep");
}

#[test]
fn labels_and_numbers_keep_their_limits() {
    let label = || ("a".to_owned(), "1".to_owned());
    refused(SaveOptions { labels: vec![label(), label()], ..SaveOptions::default() }, "'a' is given twice");
    refused(SaveOptions { snapshot_index: 1 << 53, ..SaveOptions::default() }, "2^53");
    refused(SaveOptions { description: Some("x".repeat(48_000)), ..SaveOptions::default() }, "48000");
    // The longest description that fits is read back.
    let storage = MemoryStorage::default();
    let options = SaveOptions { description: Some("x".repeat(47_000)), ..SaveOptions::default() };
    snapshots::save(&storage, "x", b"{}", options).unwrap();
    assert_eq!(snapshots::metadata(&storage, "x").unwrap().description.map(|text| text.len()), Some(47_000));
}
