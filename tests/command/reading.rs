//! Restoring and verifying: what is read, what is refused, and what a failure leaves behind.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use persist_test_support::command::{chat_bytes, files, json, ok_in, persist, run_in};

use crate::helpers::{STATE, folder};

/// Other files have their own errors, and nothing is created.
#[test]
fn a_file_that_is_not_a_snapshot_is_refused() {
    let folder = folder();
    let folder = folder.path();
    fs::create_dir(folder.join("folder")).expect("a folder");
    fs::write(folder.join("empty"), b"").expect("an empty file");
    // As gzip writes it, with a name and a time.
    let mut gzip = Vec::new();
    let mut encoder = flate2::GzBuilder::new().filename("log").mtime(1).read(&b"a log"[..], flate2::Compression::default());
    encoder.read_to_end(&mut gzip).expect("it compresses");
    fs::write(folder.join("plain.gz"), gzip).expect("a gzip file");
    fs::write(folder.join("image.png"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").expect("an image");
    ok_in(folder, &["snapshot", "state.json", "good.gz"]);
    let good = fs::read(folder.join("good.gz")).expect("the snapshot");
    fs::write(folder.join("cut.gz"), &good[..good.len() - 1]).expect("a truncated file");
    fs::write(folder.join("half.gz"), &good[..good.len() / 2]).expect("a truncated file");
    let mut newer = good.clone();
    let version = good.len() - 74 + 8;
    newer[version] = 9;
    // A newer format may compute its digest differently.
    newer[version + 24] ^= 1;
    fs::write(folder.join("newer.gz"), newer).expect("a newer file");
    let mut flipped = good;
    flipped[15] ^= 1;
    fs::write(folder.join("flipped.gz"), flipped).expect("a damaged file");

    let before = files(folder);
    for (file, exit_code, code, says) in [
        ("empty", 5, "not-a-snapshot", "the file is empty"),
        ("plain.gz", 5, "not-a-snapshot", "a gzip file that Persist did not write"),
        ("image.png", 5, "not-a-snapshot", "neither gzip nor zstd"),
        ("state.json", 5, "not-a-snapshot", "neither gzip nor zstd"),
        ("cut.gz", 5, "integrity", "does not end with its footer"),
        ("half.gz", 5, "invalid-format", "cut short"),
        ("newer.gz", 5, "unsupported-format", "format 9"),
        ("flipped.gz", 5, "integrity", "a frame was changed"),
        ("missing.gz", 3, "not-found", "there is no such file"),
        ("missing/x.gz", 3, "not-found", "there is no such file"),
        ("state.json/x.gz", 3, "not-found", "there is no such file"),
        ("/dev/null", 2, "invalid-key", "a device"),
        ("", 2, "invalid-argument", "it is empty"),
        ("ftp://host/x", 2, "invalid-argument", "the scheme 'ftp' is not known"),
        ("s3://bucket/x.gz", 6, "credentials", "AWS credentials not found"),
    ] {
        for arguments in [&["restore", file, "-o", "out"][..], &["restore", file, "-o", "new/out"], &["verify", file], &["restore", file]] {
            let done = run_in(folder, arguments);
            assert_eq!(done.code, exit_code, "{arguments:?}: {done:?}");
            assert!(done.stderr.starts_with("error: ") && done.stderr.contains(says), "{arguments:?}: {done:?}");
            assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
            let mut with_json = arguments.to_vec();
            with_json.push("--json");
            let error = json(&run_in(folder, &with_json).stderr);
            assert_eq!((error["code"].as_str(), error["exit_code"].as_i64()), (Some(code), Some(exit_code.into())), "{error}");
            assert!(error["message"].as_str().is_some_and(|message| message.contains(says)), "{error}");
        }
        assert_eq!(files(folder), before, "{file}");
    }
    // 'flipped.gz' is not among these: its damage is in the data, which 'show' does not
    // read.
    for file in ["empty", "plain.gz", "image.png", "cut.gz", "half.gz", "newer.gz"] {
        assert_eq!(run_in(folder, &["show", file]).code, 5, "{file}");
    }
    // 'restore' takes a folder, 'verify' does not.
    for file in ["folder", "folder/"] {
        let done = run_in(folder, &["restore", file]);
        assert!(done.code == 3 && done.stderr.contains("no such snapshot in this folder"), "{done:?}");
        let done = run_in(folder, &["verify", file]);
        assert!(done.code == 2 && done.stderr.contains("this is a folder"), "{done:?}");
    }
}

#[test]
fn a_state_is_restored_only_to_local_files() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    let target = format!("file://{}", folder.join("out.json").display());
    ok_in(folder, &["restore", "x.gz", "-o", &target]);
    assert_eq!(fs::read(folder.join("out.json")).expect("the state"), STATE);
    // A regular file below /dev is treated as a file.
    if Path::new("/dev/shm").is_dir() {
        let folder_in_memory = tempfile::tempdir_in("/dev/shm").expect("a folder");
        let target = folder_in_memory.path().join("out.json");
        ok_in(folder, &["restore", "x.gz", "-o", target.to_str().expect("a path")]);
        assert_eq!(fs::read(target).expect("the state"), STATE);
    }
    let before = files(folder);
    for target in ["s3://bucket/out.json", "memory://out", "ftp://host/out"] {
        assert_eq!(run_in(folder, &["restore", "x.gz", "-o", target]).code, 2, "{target}");
    }
    // A state is not replaced by its own snapshot, and '-' is not a file name.
    assert_eq!(run_in(folder, &["snapshot", "state.json", "./state.json"]).code, 2);
    assert_eq!(run_in(folder, &["snapshot", "state.json", "-"]).code, 2);
    assert_eq!(files(folder), before);
}

#[test]
fn a_failed_restore_keeps_the_existing_file() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("large.json"), chat_bytes(5_000_000)).expect("a state");
    ok_in(folder, &["snapshot", "large.json", "x.gz"]);
    let mut bytes = fs::read(folder.join("x.gz")).expect("the snapshot");
    let late = bytes.len() * 3 / 4;
    bytes[late] ^= 0x10;
    fs::write(folder.join("x.gz"), bytes).expect("the damage");
    fs::write(folder.join("out.json"), b"precious").expect("a file");
    let before = files(folder);
    let done = run_in(folder, &["restore", "x.gz", "-o", "out.json"]);
    assert_eq!(done.code, 5, "{done:?}");
    assert_eq!(fs::read(folder.join("out.json")).expect("the file"), b"precious");
    assert_eq!(files(folder), before);
}

#[test]
fn verify_continues_after_an_error() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "a.gz"]);
    ok_in(folder, &["snapshot", "state.json", "b.gz"]);
    let done = run_in(folder, &["verify", "a.gz", "missing", "state.json", "b.gz"]);
    // The worst exit code.
    assert_eq!(done.code, 5);
    assert_eq!(done.stdout.lines().filter(|line| line.contains(": ok, ")).count(), 2, "{done:?}");
    assert_eq!(done.stderr.lines().count(), 3, "{done:?}");
    assert!(done.stderr.ends_with("2 verified (104 B), 2 failed\n"), "{done:?}");
}

#[test]
fn a_reader_that_stops_early_is_not_an_error() {
    let folder = folder();
    fs::write(folder.path().join("large.json"), chat_bytes(20_000_000)).expect("a state");
    ok_in(folder.path(), &["snapshot", "large.json", "x.zst"]);
    let mut command = persist();
    command.current_dir(folder.path()).args(["restore", "x.zst"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("persist starts");
    let mut first = [0; 100];
    child.stdout.take().expect("stdout is piped").read_exact(&mut first).expect("the beginning");
    let output = child.wait_with_output().expect("persist ends");
    assert_eq!(output.stderr, b"");
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn zeros_take_no_space_in_a_restored_file() {
    let folder = folder();
    let folder = folder.path();
    // Zeros before, between and after other bytes, not aligned to blocks.
    let mut state = vec![0; 8 << 20];
    state[3_000_001..3_000_100].fill(b'x');
    state[5 << 20] = b'y';
    fs::write(folder.join("state.bin"), &state).expect("a state");
    ok_in(folder, &["snapshot", "state.bin", "x.zst"]);
    ok_in(folder, &["restore", "x.zst", "-o", "restored.bin"]);
    assert!(fs::read(folder.join("restored.bin")).expect("the state") == state);
    let taken = fs::metadata(folder.join("restored.bin")).expect("a file").blocks() * 512;
    assert!(taken < 1 << 20, "{taken} bytes of {}", state.len());
    // Only zeros, including fewer than a hole has.
    for size in [0, 1, 65_535, 65_536, 65_537, 3 << 20] {
        fs::write(folder.join("zeros.bin"), vec![0; size]).expect("a state");
        ok_in(folder, &["snapshot", "zeros.bin", "z.gz"]);
        ok_in(folder, &["restore", "z.gz", "-o", "restored.bin"]);
        assert!(fs::read(folder.join("restored.bin")).expect("the state") == vec![0; size], "{size}");
    }
}
