//! A file whose parts are all consistent, but whose content hash is that of another
//! state: no value and no file is returned, and a stream fails before its end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::Read;

use persist_host::{Engine, ErrorCode, LocalFileStorage};
use persist_test_support::command::{chat_bytes, files, ok_in, persist, run_in};
use persist_test_support::craft;
use sha2::{Digest, Sha256};

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Returns a snapshot of a state in blocks of 1 MiB, with this content hash and CRC-32.
fn snapshot(gzip: bool, state: &[u8], content_hash: &[u8], crc32: u32) -> Vec<u8> {
    use persist_guest::codec::{Codec, Encoder};
    let codec = if gzip { Codec::Gzip } else { Codec::Zstd };
    let mut encoder = Encoder::new(codec, 1).expect("an encoder");
    let frames: Vec<_> =
        state.chunks(1 << 20).map(|block| (encoder.encode(block).expect("it is encoded").frame, block.len() as u32)).collect();
    craft::frames(gzip, &frames, content_hash, crc32)
}

#[test]
fn a_state_that_does_not_match_its_hash_is_not_returned() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    // One block, which the operation reads itself, and several, which workers read.
    for size in [1000, 5_000_000] {
        let state = chat_bytes(size);
        for gzip in [true, false] {
            let hash = Sha256::digest(&state);
            let crc = if gzip { crc32(&state) } else { 0 };
            let mut cases = vec![("another hash", snapshot(gzip, &state, &Sha256::digest(b"another state"), crc))];
            if gzip {
                cases.push(("another CRC-32", snapshot(gzip, &state, &hash, crc ^ 1)));
            }
            fs::write(folder.join("good"), snapshot(gzip, &state, &hash, crc)).expect("a file");
            ok_in(folder, &["restore", "good", "-o", "restored"]);
            assert!(fs::read(folder.join("restored")).expect("a file") == state);
            fs::remove_file(folder.join("restored")).expect("it was there");
            for (what, bytes) in cases {
                fs::write(folder.join("x"), bytes).expect("a file");
                let before = files(folder);
                for workers in [1, 2] {
                    let engine = Engine::builder().storage(LocalFileStorage::new(folder)).workers(workers).build().expect("an engine");
                    assert_eq!(engine.restore("x").expect_err(what).code(), ErrorCode::Integrity);
                    assert_eq!(engine.verify("x").expect_err(what).code(), ErrorCode::Integrity);
                    let mut streamed = Vec::new();
                    let ended = engine.reader("x").expect("it opens").read_to_end(&mut streamed);
                    assert!(
                        ended.is_err() && state.starts_with(&streamed) && streamed.len() < state.len(),
                        "{what}: the whole state was returned"
                    );
                    let copied = engine.copy("x", &engine, "y", persist_host::Precondition::None, |_| {});
                    assert_eq!(copied.expect_err(what).code(), ErrorCode::Integrity);
                }
                let done = run_in(folder, &["restore", "x", "-o", "out.json"]);
                assert!(done.code == 5 && done.stderr.contains("error: Integrity error"), "{what}: {done:?}");
                let to_stdout = persist().current_dir(folder).args(["restore", "x"]).output().expect("persist starts");
                assert_eq!(to_stdout.status.code(), Some(5), "{what}");
                assert_eq!(files(folder), before, "{what}: nothing is left");
            }
        }
    }
}

#[test]
fn a_file_of_two_states_is_refused_by_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("x.gz"), craft::two_states()).expect("a file");
    for arguments in [&["verify", "x.gz"][..], &["restore", "x.gz"], &["restore", "x.gz", "-o", "out"], &["copy", "x.gz", "y.gz"]] {
        let done = run_in(folder, arguments);
        assert!(done.code == 5 && done.stderr.contains("does not end at a block boundary"), "{arguments:?}: {done:?}");
        assert!(done.stdout.is_empty());
    }
    assert_eq!(files(folder), ["x.gz"]);
}

#[test]
fn a_seal_is_shown_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("state"), b"{}").expect("a state");
    for name in ["x.gz", "x.zst"] {
        ok_in(folder, &["snapshot", "state", name]);
        assert!(!ok_in(folder, &["show", name]).contains("seal"));
        let plain = fs::read(folder.join(name)).expect("a file");
        fs::write(folder.join(name), craft::sealed(name == "x.gz", &plain, b"by somebody")).expect("a file");
        assert!(ok_in(folder, &["show", name]).contains("  seal          sealed, not checked\n"));
        let shown: serde_json::Value = serde_json::from_str(&ok_in(folder, &["show", name, "--json"])).expect("JSON");
        assert_eq!(
            (shown["seal"].as_str(), shown["encryption"].as_str(), shown["kind"].as_str()),
            (Some("not-checked"), Some("none"), Some("snapshot"))
        );
        assert_eq!(ok_in(folder, &["restore", name]), "{}");
        assert!(ok_in(folder, &["verify", name]).trim_end().ends_with(", sealed, not checked"));
        assert!(ok_in(folder, &["restore", name, "-o", "out"]).trim_end().ends_with("2 bytes of state, sealed, not checked"));
        ok_in(folder, &["copy", name, "copy"]);
        assert_eq!(fs::read(folder.join(name)).expect("a file"), fs::read(folder.join("copy")).expect("a file"));
    }
}
