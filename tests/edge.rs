//! The command for small machines, whose path is in `PERSIST_EDGE`: it stores the same
//! bytes as every other host, and needs no compiler. `cargo xtask test` tests an
//! unoptimised build of it, and `cargo xtask edge test` the real one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use persist_host::{Codec, Engine, LocalFileStorage, SnapshotOptions};
use persist_test_support::command::chat_bytes;

/// The maximum size in bytes. As measured, the command has 7.0 MB, of which timelines are
/// 1.5; a compiler would add 10.
const MAX_SIZE: u64 = 8_000_000;

/// The maximum size of an unoptimised build in bytes. As measured, it has 25 MB; a compiler
/// would add 40.
const MAX_SIZE_UNOPTIMISED: u64 = 30_000_000;

fn edge() -> String {
    std::env::var("PERSIST_EDGE").expect("PERSIST_EDGE is the path of the command built by 'cargo xtask edge'")
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(edge());
    // No folder to cache compiled code in, and none of the user's settings.
    command.args(arguments).current_dir(folder).env_clear();
    command.output().expect("it runs")
}

fn done(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn it_stores_what_every_host_stores() {
    let folder = tempfile::tempdir().unwrap();
    let storage = LocalFileStorage::new(folder.path());
    let engine = Engine::builder().storage(storage).build().unwrap();
    let (id, time) = ("01890a5d-ac96-774b-bcce-b302099a8057", "2026-01-31T12:00:00Z");
    for size in [0, 1000, 300_000, 5_000_000] {
        let state = chat_bytes(size);
        fs::write(folder.path().join("state.json"), &state).unwrap();
        for (codec, ours, theirs) in [(Codec::Gzip, "ours.json.gz", "theirs.json.gz"), (Codec::Zstd, "ours.json.zst", "theirs.json.zst")] {
            let options = SnapshotOptions::default()
                .agent_id("a".to_owned())
                .session_id("s".to_owned())
                .codec(Some(codec))
                .snapshot_id(Some(id.to_owned()))
                .timestamp(Some(time.to_owned()));
            engine.snapshot(ours, &state, &options).expect("it is saved");
            let arguments =
                ["snapshot", "state.json", theirs, "--agent-id", "a", "--session-id", "s", "--snapshot-id", id, "--timestamp", time];
            done(folder.path(), &arguments);
            let stored = |name: &str| fs::read(folder.path().join(name)).unwrap();
            assert!(stored(ours) == stored(theirs), "{size} bytes, {codec:?}");
            assert!(done(folder.path(), &["restore", ours]) == state);
            done(folder.path(), &["verify", ours, theirs]);
            done(folder.path(), &["show", ours]);
        }
    }
}

#[test]
fn it_reports_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["show", "s3://bucket/key.json.gz"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(7) && error.contains("not part of this build"), "{error}");
}

#[test]
fn it_is_small_and_has_the_same_component() {
    let size = fs::metadata(edge()).unwrap().len();
    println!("the command for small machines has {size} bytes");
    let is_real = Path::new(&edge()).parent().is_some_and(|folder| folder.ends_with("edge"));
    assert!(size <= if is_real { MAX_SIZE } else { MAX_SIZE_UNOPTIMISED }, "{size} bytes");
    let folder = tempfile::tempdir().unwrap();
    let version = String::from_utf8(done(folder.path(), &["--version"])).unwrap();
    let hash: String = persist_host::component_hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(version.contains(&hash), "{version}");
}
