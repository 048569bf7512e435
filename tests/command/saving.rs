//! Saving a state: from where, to where, in which form, and with which metadata.

use std::fs;

use persist_test_support::command::{chat_bytes, files, json, ok_in, persist, pipe, run_in};
use serde_json::Value;

use crate::helpers::{STATE, folder, sha256};

#[test]
fn a_state_is_saved_shown_verified_listed_and_restored() {
    for name in ["0001.json.gz", "0001.json.zst", "0001"] {
        let folder = folder();
        let folder = folder.path();
        let key = format!("agents/{name}");
        let saved = ok_in(folder, &["snapshot", "state.json", &key]);
        assert!(saved.starts_with(&format!("saved {key}: 52 bytes of state in ")), "{saved}");
        assert_eq!(files(folder), ["agents", &key, "state.json"]);

        let shown = ok_in(folder, &["show", &key]);
        for part in [name, "default_agent", "default_session", "application/json", "52 bytes", &sha256(STATE)] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert_eq!(ok_in(folder, &["verify", &key]), format!("{key}: ok, 52 bytes of state, SHA-256 {}\n", sha256(STATE)));
        assert_eq!(ok_in(folder, &["exists", &key]), format!("{key} exists\n"));
        assert_eq!(ok_in(folder, &["restore", &key]).as_bytes(), STATE);
        assert_eq!(ok_in(folder, &["restore", &key, "-o", "out/state.json"]), "restored out/state.json: 52 bytes of state\n");
        assert_eq!(fs::read(folder.join("out/state.json")).expect("the state"), STATE);
        assert!(ok_in(folder, &["list", "agents"]).contains(name));
        assert_eq!(ok_in(folder, &["delete", &key, "--yes"]), format!("deleted {key}\n"));
        assert_eq!(run_in(folder, &["exists", &key]).code, 3);
    }
}

#[test]
fn json_is_one_flat_object_with_every_field() {
    let folder = folder();
    let folder = folder.path();
    let arguments = [
        "snapshot",
        "state.json",
        "x.json.zst",
        "--json",
        "--agent-id",
        "support",
        "--session-id",
        "s-1",
        "--index",
        "7",
        "--description",
        "before the update",
        "--label",
        "env=prod",
        "--label",
        "a=b=c",
        "--content-type",
        "text/plain",
        "--level",
        "-3",
        "--snapshot-id",
        "01890a5d-ac96-774b-bcce-b302099a8057",
        "--timestamp",
        "2026-01-31T12:00:00+01:00",
    ];
    let saved = json(&ok_in(folder, &arguments));
    let shown = json(&ok_in(folder, &["show", "x.json.zst", "--json"]));
    assert_eq!(saved, shown);
    let expected = serde_json::json!({
        "location": "x.json.zst", "key": "x.json.zst", "kind": "snapshot", "seal": "none", "encryption": "none",
        "snapshot_id": "01890a5d-ac96-774b-bcce-b302099a8057", "agent_id": "support", "session_id": "s-1",
        "snapshot_index": 7, "timestamp": "2026-01-31T11:00:00.000000Z", "description": "before the update",
        "labels": {"a": "b=c", "env": "prod"}, "content_type": "text/plain", "content_hash": sha256(STATE), "uncompressed_size": 52,
        "compression_algorithm": "zstd", "format_version": 1, "producer": concat!("persist/", env!("CARGO_PKG_VERSION")),
        "stored_size": fs::metadata(folder.join("x.json.zst")).expect("it is there").len(),
        "compressed_size": shown["compressed_size"], "root": shown["root"], "digest": shown["digest"], "etag": shown["etag"],
    });
    assert_eq!(shown, expected);
    for name in ["root", "digest"] {
        assert_eq!(shown[name].as_str().map(str::len), Some(64));
    }
    assert_eq!(json(&ok_in(folder, &["verify", "x.json.zst", "--json"])), shown);
    assert_eq!(json(&ok_in(folder, &["restore", "x.json.zst", "--json", "-o", "out"])), shown);
    assert_eq!(json(&ok_in(folder, &["exists", "x.json.zst", "--json"])), serde_json::json!({"location": "x.json.zst", "exists": true}));
    let missing = run_in(folder, &["exists", "y", "--json"]);
    assert_eq!((missing.code, json(&missing.stdout)["exists"].clone()), (3, Value::Bool(false)));
    let deleted = json(&ok_in(folder, &["delete", "x.json.zst", "--json", "--yes"]));
    assert_eq!(deleted, serde_json::json!({"location": "x.json.zst", "deleted": true}));
}

#[test]
fn equal_input_gives_equal_files() {
    let folder = folder();
    let folder = folder.path();
    for name in ["a.gz", "b.gz"] {
        let fixed = ["--snapshot-id", "01890a5d-ac96-774b-bcce-b302099a8057", "--timestamp", "2026-01-31T12:00:00Z"];
        ok_in(folder, &[&["snapshot", "state.json", name], &fixed[..]].concat());
    }
    assert_eq!(fs::read(folder.join("a.gz")).expect("a"), fs::read(folder.join("b.gz")).expect("b"));
}

#[test]
fn the_codec_depends_on_the_name_or_the_option() {
    let folder = folder();
    let folder = folder.path();
    for (name, codec, expected) in [
        ("a.gz", "auto", "gzip"),
        ("a.zst", "auto", "zstd"),
        ("a.json", "auto", "gzip"),
        ("b.gz", "zstd", "zstd"),
        ("b.zst", "gzip", "gzip"),
        ("c.ZST", "auto", "zstd"),
        ("c.Zst", "auto", "zstd"),
        ("c.json.zstd", "auto", "zstd"),
        ("c.ZSTD", "auto", "zstd"),
        ("c.GZ", "auto", "gzip"),
        ("zst", "auto", "gzip"),
        ("c.zst.json", "auto", "gzip"),
    ] {
        let saved = json(&ok_in(folder, &["snapshot", "state.json", name, "--codec", codec, "--json"]));
        assert_eq!(saved["compression_algorithm"], expected, "{name} {codec}");
        // Reading detects the codec by the content.
        assert_eq!(ok_in(folder, &["restore", name]).as_bytes(), STATE);
    }
    let done = run_in(folder, &["snapshot", "state.json", "c.gz", "--level", "10"]);
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("gzip has no level 10; its levels are 1 to 9"), "{}", done.stderr);
    assert!(!folder.join("c.gz").exists());
}

#[test]
fn state_comes_from_stdin_and_goes_to_stdout() {
    let folder = folder();
    let state = chat_bytes(3_000_000);
    let mut save = persist();
    save.current_dir(folder.path()).args(["snapshot", "-", "big.json.gz", "--quiet"]);
    let saved = pipe(save, &state);
    assert!(saved.status.success() && saved.stdout.is_empty() && saved.stderr.is_empty(), "{saved:?}");
    for arguments in
        [&["restore", "big.json.gz"][..], &["restore", "big.json.gz", "-o", "-"], &["restore", "big.json.gz", "-o", "/dev/stdout", "-q"]]
    {
        let restored = persist().current_dir(folder.path()).args(arguments).output().expect("persist starts");
        assert!(restored.status.success() && restored.stderr.is_empty(), "{arguments:?}");
        assert!(restored.stdout == state, "{arguments:?}");
    }
}

#[test]
fn if_exists_is_respected_and_a_refused_snapshot_replaces_nothing() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("second.json"), b"{}").expect("a second state");
    ok_in(folder, &["snapshot", "state.json", "x.gz", "--if-exists", "fail"]);
    let refused = run_in(folder, &["snapshot", "second.json", "x.gz", "--if-exists", "fail"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.starts_with("error: Already exists: "), "{refused:?}");
    assert_eq!(ok_in(folder, &["restore", "x.gz"]).as_bytes(), STATE);
    ok_in(folder, &["snapshot", "second.json", "x.gz", "--durability", "none"]);
    assert_eq!(ok_in(folder, &["restore", "x.gz"]), "{}");
}

#[test]
fn an_unreadable_state_is_named_in_the_error() {
    let folder = folder();
    for (state, exit_code, says) in [("missing.json", 3, "there is no such state file"), (".", 2, "the state is a folder")] {
        let done = run_in(folder.path(), &["snapshot", state, "x.gz"]);
        assert_eq!(done.code, exit_code, "{done:?}");
        assert!(done.stderr.contains(says), "{done:?}");
    }
    assert_eq!(files(folder.path()), ["state.json"]);
    let done = run_in(folder.path(), &["snapshot", "state.json", "", "--index", "1"]);
    assert_eq!(done.code, 2, "{done:?}");
    let done = run_in(folder.path(), &["snapshot", "state.json", "state.json/x.gz"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("a parent of the path is a file, not a folder"), "{done:?}");
}
