//! Documents that break the rules.

use persist_guest::MAX_METADATA;

use super::*;

#[test]
fn another_kind_of_object_is_named_before_its_fields_are_read() {
    for mut parts in both() {
        parts.edit(|document| document["kind"] = json!("snapshot"));
        assert_eq!(read(parts.bytes()).unwrap().1.kind, "snapshot");
        parts.edit(|document| *document = json!({"kind": "step", "later": true}));
        refused("kind", &parts, ErrorCode::WrongKind, "of kind 'step'");
        parts.edit(|document| document["kind"] = json!("\u{1b}[2J".repeat(1000)));
        let error = read(parts.bytes()).unwrap_err();
        assert_eq!(error.code, ErrorCode::WrongKind);
        assert!(error.message.contains("\\u{1b}[2J") && !error.message.contains('\u{1b}') && error.message.len() < 2500, "{error}");
    }
}

#[test]
fn a_hostile_document_is_quoted_safely() {
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
fn a_document_that_breaks_a_rule_is_refused() {
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
        ("a name twice outside", both()[0].document.replacen('{', "{\"codec\":\"gzip\",", 1)),
        ("a name twice inside", both()[0].document.replacen("\"metadata\":{", "\"metadata\":{\"agent_id\":\"b\",", 1)),
        ("a label twice", both()[0].document.replacen("\"labels\":{", "\"labels\":{\"env\":\"b\",", 1)),
        ("an unknown name twice", both()[0].document.replacen("\"metadata\":{", "\"metadata\":{\"x\":1,\"x\":2,", 1)),
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
