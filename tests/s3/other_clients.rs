//! Listing and moving many snapshots, and objects that other clients write, move and keep versions of.

use std::fs;

use persist_host::{ErrorCode, ReadOptions, StorageAdapter};
use persist_test_support::command::{chat_bytes, persist};
use persist_test_support::moto::{Moto, aws};
use persist_test_support::server::{BUCKET, Server};

use crate::helpers::{at, folder, json, ok, on, run};

#[test]
fn a_folder_moves_to_a_bucket_and_back() {
    let (server, folder) = (Server::start(), folder());
    let persist = || {
        let mut command = on(&server.endpoint());
        command.current_dir(folder.path());
        command
    };
    for number in 0..40 {
        fs::write(folder.path().join("state.json"), chat_bytes(1000 + number)).expect("a state");
        ok(persist().args(["snapshot", "state.json", &format!("agents/{}/{number:04}.json.gz", number % 3)]));
    }
    fs::write(folder.path().join("agents/notes.txt"), "no snapshot").expect("a file");
    let copied = ok(persist().args(["copy", "--recursive", "agents", &at("moved/")]));
    assert_eq!(copied.lines().filter(|line| line.starts_with("copied ")).count(), 40, "{copied}");
    let again = run(persist().args(["copy", "--recursive", "agents", &at("moved/")]));
    assert!(again.code == 0 && again.stderr.contains("0 copied, 40 skipped, 1 other file left out"), "{again:?}");
    let listed = ok(persist().args(["list", &at("moved"), "--json"]));
    assert_eq!(listed.lines().count(), 40);
    ok(persist().args(["copy", "--recursive", &at("moved"), "back"]));
    for file in persist_test_support::command::files(&folder.path().join("back")) {
        let (there, back) = (folder.path().join("agents").join(&file), folder.path().join("back").join(&file));
        assert!(there.is_dir() || fs::read(there).expect("there") == fs::read(back).expect("back"), "{file}");
    }
    assert_eq!(persist_test_support::command::files(&folder.path().join("back")).len(), 43);
}

#[test]
fn a_listing_can_have_more_than_a_thousand_snapshots() {
    let (server, folder) = (Server::start(), folder());
    ok(on(&server.endpoint()).arg("snapshot").arg(folder.path().join("state.json")).arg(at("many/0000.json.gz")));
    for number in 1..1234 {
        fs::copy(server.file("many/0000.json.gz"), server.file(&format!("many/{number:04}.json.gz"))).expect("it is copied");
    }
    let listed = ok(on(&server.endpoint()).args(["list", &at("many/"), "--json"]));
    let keys: Vec<String> = listed.lines().map(|line| json(line)["key"].as_str().expect("a key").to_owned()).collect();
    let expected: Vec<String> = (0..1234).map(|number| format!("many/{number:04}.json.gz")).collect();
    assert_eq!(keys, expected);
}

#[test]
fn an_invalid_key_of_another_client_is_reported() {
    let (server, folder) = (Server::start(), folder());
    ok(on(&server.endpoint()).arg("snapshot").arg(folder.path().join("state.json")).arg(at("many/0000.json.gz")));
    // Longer than AWS allows.
    let long = [&*"n".repeat(200); 6].join("/");
    let (first, second) = (format!("many/0000-{long}"), format!("many/0001-{long}"));
    for name in ["many/0001.json.gz", &first, &second] {
        fs::create_dir_all(server.file(name).parent().unwrap()).expect("a folder");
        fs::copy(server.file("many/0000.json.gz"), server.file(name)).expect("it is copied");
    }
    let copied = folder.path().join("copied").display().to_string();
    for arguments in [&["list", &at("many/")][..], &["copy", "--recursive", &at("many/"), &copied]] {
        let done = run(on(&server.endpoint()).args(arguments));
        assert_eq!(done.code, 2, "{done:?}");
        assert_eq!(done.stderr.matches("it is longer than 1,024 bytes").count(), 2, "{done:?}");
        assert!(done.stdout.contains("0000.json.gz") && done.stdout.contains("0001.json.gz"), "{done:?}");
    }
    // A page contains them as entries, and reading one returns the error.
    let storage = server.adapter();
    let keys: Vec<String> = storage.list_objects("many/", None, 1000).unwrap().into_iter().map(|info| info.key).collect();
    assert_eq!(keys, [&first, "many/0000.json.gz", &second, "many/0001.json.gz"]);
    let error = storage.open_read(&keys[0], ReadOptions::default()).map(drop).expect_err("it is not a valid key");
    assert_eq!(error.code(), ErrorCode::InvalidKey);
}

#[test]
fn snapshots_moved_by_another_client_restore_unchanged() {
    let (moto, folder) = (Moto::start(), folder());
    let state = fs::read(folder.path().join("state.json")).expect("the state");
    for name in ["a/1.json.gz", "a/b/2.json.zst"] {
        ok(on(&moto.endpoint()).current_dir(folder.path()).args(["snapshot", "state.json", &format!("here/{name}")]));
    }
    let sync = |from: &str, to: &str| {
        let done = aws(&moto.endpoint()).current_dir(folder.path()).args(["s3", "sync", from, to]).output().expect("aws runs");
        assert!(done.status.success(), "{done:?}");
    };
    sync("here", &at("synced"));
    for name in ["a/1.json.gz", "a/b/2.json.zst"] {
        assert_eq!(ok(on(&moto.endpoint()).args(["restore", &at(&format!("synced/{name}"))])).as_bytes(), state);
        ok(on(&moto.endpoint()).current_dir(folder.path()).args(["copy", &format!("here/{name}"), &at(&format!("ours/{name}"))]));
    }
    sync(&at("ours"), "there");
    for name in ["a/1.json.gz", "a/b/2.json.zst"] {
        assert_eq!(ok(on(&moto.endpoint()).current_dir(folder.path()).args(["restore", &format!("there/{name}")])).as_bytes(), state);
    }
}

#[test]
fn an_old_version_can_be_restored_from_a_versioned_bucket() {
    let (moto, folder) = (Moto::start(), folder());
    let aws = |arguments: &[&str]| {
        let done = aws(&moto.endpoint()).args(arguments).output().expect("aws runs");
        assert!(done.status.success(), "{done:?}");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    };
    aws(&["s3api", "put-bucket-versioning", "--bucket", BUCKET, "--versioning-configuration", "Status=Enabled"]);
    let state = folder.path().join("state.json");
    let first = fs::read(&state).expect("the state");
    ok(on(&moto.endpoint()).arg("snapshot").arg(&state).arg(at("x.json.gz")));
    fs::write(&state, "{}").expect("a state");
    ok(on(&moto.endpoint()).arg("snapshot").arg(&state).arg(at("x.json.gz")));
    let oldest = ["--query", "Versions[-1].VersionId", "--output", "text"];
    let version = aws(&[&["s3api", "list-object-versions", "--bucket", BUCKET, "--prefix", "x.json.gz"], &oldest[..]].concat());
    let old = folder.path().join("old.json.gz");
    let old = old.to_str().expect("a path");
    aws(&["s3api", "get-object", "--bucket", BUCKET, "--key", "x.json.gz", "--version-id", &version, old]);
    assert_eq!(ok(persist().args(["restore", old])).as_bytes(), first);
}
