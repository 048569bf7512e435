//! `persist copy` and `persist salvage`, preconditions, version and man pages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;

use persist_test_support::command::{chat_bytes, files, flip, json, ok_in, read, run_in};
use tempfile::TempDir;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("state.json"), b"{\"messages\": []}").expect("a state");
    fs::write(folder.path().join("large.json"), chat_bytes(9_000_000)).expect("a state");
    folder
}

#[test]
fn a_copy_is_identical() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "large.json", "a.json.zst", "--label", "a=b"]);
    assert!(ok_in(folder, &["copy", "a.json.zst", "b.json.zst"]).starts_with("copied a.json.zst to b.json.zst: "));
    assert_eq!(read(folder, "a.json.zst"), read(folder, "b.json.zst"));
    assert_eq!(ok_in(folder, &["copy", "a.json.zst", "b.json.zst"]), "skipped a.json.zst: b.json.zst is the same\n");
    // Into a folder that exists, and into one that a trailing slash marks.
    fs::create_dir(folder.join("there")).expect("a folder");
    ok_in(folder, &["copy", "a.json.zst", "there"]);
    ok_in(folder, &["copy", "a.json.zst", "new/"]);
    assert_eq!(read(folder, "there/a.json.zst"), read(folder, "new/a.json.zst"));
}

#[test]
fn a_damaged_snapshot_is_not_copied() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "large.json", "a.gz"]);
    ok_in(folder, &["snapshot", "state.json", "b.gz"]);
    let there = read(folder, "b.gz");
    let middle = read(folder, "a.gz").len() / 2;
    flip(folder, "a.gz", middle);
    for dest in ["b.gz", "c.gz"] {
        let done = run_in(folder, &["copy", "a.gz", dest]);
        assert_eq!(done.code, 5, "{done:?}");
    }
    assert_eq!(read(folder, "b.gz"), there);
    assert_eq!(files(folder), ["a.gz", "b.gz", "large.json", "state.json"]);
    assert_eq!(run_in(folder, &["copy", "state.json", "c.gz"]).code, 5);
    assert_eq!(run_in(folder, &["copy", "missing.gz", "c.gz"]).code, 3);
    assert_eq!(run_in(folder, &["copy", "b.gz", "s3://bucket/c.gz"]).code, 6);
    assert_eq!(files(folder), ["a.gz", "b.gz", "large.json", "state.json"]);
}

#[test]
fn a_copy_replaces_unless_told_otherwise() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "large.json", "a.gz"]);
    ok_in(folder, &["snapshot", "state.json", "b.gz"]);
    let done = run_in(folder, &["copy", "a.gz", "b.gz", "--if-exists", "fail"]);
    assert_eq!(done.code, 4, "{done:?}");
    assert_ne!(read(folder, "a.gz"), read(folder, "b.gz"));
    ok_in(folder, &["copy", "a.gz", "b.gz"]);
    assert_eq!(read(folder, "a.gz"), read(folder, "b.gz"));
    // An identical snapshot is not a conflict.
    ok_in(folder, &["copy", "a.gz", "b.gz", "--if-exists", "fail"]);
}

#[test]
fn copying_a_folder_keeps_its_names_and_resumes_where_it_stopped() {
    let folder = folder();
    let folder = folder.path();
    for key in ["a/1.gz", "a/x/2.zst", "b.gz"] {
        ok_in(folder, &["snapshot", "state.json", &format!("src/{key}")]);
    }
    fs::write(folder.join("src/notes.txt"), "notes").expect("a file");
    let done = run_in(folder, &["copy", "--recursive", "src", "to/dest"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.starts_with("3 copied (") && done.stderr.ends_with("), 1 other file left out\n"), "{done:?}");
    assert_eq!(files(&folder.join("to/dest")), ["a", "a/1.gz", "a/x", "a/x/2.zst", "b.gz"]);
    // As after an interruption: one copy is missing, and one differs.
    fs::remove_file(folder.join("to/dest/b.gz")).expect("it was there");
    ok_in(folder, &["snapshot", "large.json", "to/dest/a/1.gz"]);
    let done = run_in(folder, &["copy", "-r", "src", "to/dest", "--json"]);
    let actions: Vec<_> = done.stdout.lines().map(|line| json(line)["action"].as_str().expect("an action").to_owned()).collect();
    assert_eq!(actions, ["copied", "skipped", "copied"], "{done:?}");
    for key in ["a/1.gz", "a/x/2.zst", "b.gz"] {
        assert_eq!(read(folder, &format!("src/{key}")), read(folder, &format!("to/dest/{key}")));
    }
    // A damaged snapshot does not stop the others.
    flip(folder, "src/a/1.gz", 20);
    fs::remove_dir_all(folder.join("to")).expect("it was there");
    let done = run_in(folder, &["copy", "-r", "src", "to/dest"]);
    assert_eq!(done.code, 5, "{done:?}");
    assert_eq!(done.stdout.lines().count(), 2, "{done:?}");
    assert!(!folder.join("to/dest/a/1.gz").exists());
    assert_eq!(run_in(folder, &["copy", "-r", "missing", "x"]).code, 3);
    assert_eq!(run_in(folder, &["copy", "-r", "src", "state.json"]).code, 2);
}

#[test]
fn salvage_recovers_what_is_left_and_labels_it() {
    let folder = folder();
    let folder = folder.path();
    let state = read(folder, "large.json");
    for name in ["x.gz", "x.zst"] {
        ok_in(folder, &["snapshot", "large.json", name]);
        let whole = read(folder, name);
        // Truncated: the beginning is recovered, unchecked.
        fs::write(folder.join("cut"), &whole[..whole.len() / 2]).expect("a file");
        let done = run_in(folder, &["salvage", "cut", "-o", "out.json"]);
        assert_eq!(done.code, 5, "{done:?}");
        for part in ["UNVERIFIED", "0 bytes against", &format!("at byte {}", whole.len() / 2), "not known"] {
            assert!(done.stdout.contains(part), "{part}: {done:?}");
        }
        let salvaged = read(folder, "out.json");
        assert!(salvaged.len() > state.len() / 4 && state.starts_with(&salvaged), "{name}: {}", salvaged.len());
        // Damaged in the middle: everything except that block is recovered and checked.
        flip(folder, name, whole.len() / 2);
        let report = json(&run_in(folder, &["salvage", name, "-o", "out.json", "--json"]).stdout);
        let salvaged = read(folder, "out.json");
        let hole = &report["holes"][0];
        let (at, length) = (hole["state_offset"].as_u64().expect("a place") as usize, hole["length"].as_u64().expect("a length") as usize);
        assert!(salvaged == [&state[..at], &state[at + length..]].concat(), "{report}");
        assert_eq!(report["holes"].as_array().map(Vec::len), Some(1));
        let done = run_in(folder, &["salvage", name, "-o", "out.json"]);
        assert!(done.stdout.contains(&format!(" at byte {at} of the state")), "{done:?}");
        assert_eq!((report["verified"].as_bool(), report["complete"].as_bool()), (Some(false), Some(false)));
        assert_eq!(
            (report["salvaged_size"].as_u64(), report["checked_size"].as_u64()),
            (Some(salvaged.len() as u64), Some(salvaged.len() as u64))
        );
        assert_eq!(report["missing_size"].as_u64(), Some((state.len() - salvaged.len()) as u64));
        assert_eq!(report["metadata"]["uncompressed_size"], 9_000_000);
        // If only the footer is damaged, the whole state is recovered.
        fs::write(folder.join("cut"), &whole[..whole.len() - 1]).expect("a file");
        let done = run_in(folder, &["salvage", "cut", "-o", "-", "--quiet"]);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{:?}", done.code);
        assert!(done.stdout.as_bytes() == state);
        let done = run_in(folder, &["salvage", "cut", "-o", "-"]);
        assert!(done.stderr.contains("UNVERIFIED") && done.stdout.as_bytes() == state);
    }
    // The first 4 KiB are lost, as with a page that was never written.
    for name in ["x.gz", "x.zst"] {
        ok_in(folder, &["snapshot", "large.json", name]);
        let mut whole = read(folder, name);
        whole[..4096].fill(0);
        fs::write(folder.join("cut"), &whole).expect("a file");
        assert_eq!(run_in(folder, &["salvage", "cut", "-o", "out.json"]).code, 5);
        let salvaged = read(folder, "out.json");
        assert!(salvaged.len() > state.len() / 2 && state.ends_with(&salvaged), "{name}: {}", salvaged.len());
        // The end is zeros, as after a crash: nothing is made up.
        let mut whole = fs::read(folder.join(name)).expect("a file");
        let kept = whole.len() / 3;
        whole[kept..].fill(0);
        fs::write(folder.join("cut"), &whole).expect("a file");
        let done = run_in(folder, &["salvage", "cut", "-o", "out.json"]);
        assert_eq!(done.code, 5, "{done:?}");
        let salvaged = read(folder, "out.json");
        assert!(salvaged.len() > state.len() / 6 && state.starts_with(&salvaged), "{name}: {}", salvaged.len());
        let shown = run_in(folder, &["show", "cut"]);
        assert!(shown.stderr.contains("the snapshot was cut short"), "{shown:?}");
    }
    fs::remove_file(folder.join("out.json")).expect("it was there");
    for (name, exit_code) in [("state.json", 5), ("missing", 3), (".", 2)] {
        let done = run_in(folder, &["salvage", name, "-o", "out.json"]);
        assert_eq!(done.code, exit_code, "{done:?}");
    }
    fs::write(folder.join("cut"), &read(folder, "x.gz")[..15]).expect("a file");
    let done = run_in(folder, &["salvage", "cut", "-o", "out.json"]);
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.stderr.contains("nothing can be salvaged"), "{done:?}");
    assert!(!folder.join("out.json").exists());
}

#[test]
fn local_files_do_not_support_if_match() {
    let folder = folder();
    let folder = folder.path();
    let saved = json(&ok_in(folder, &["snapshot", "state.json", "x.gz", "--json"]));
    let etag = saved["etag"].as_str().expect("an etag").to_owned();
    for arguments in [&["snapshot", "large.json", "x.gz", "--if-match", &etag][..], &["delete", "x.gz", "--yes", "--if-match", &etag]] {
        let done = run_in(folder, arguments);
        assert_eq!(done.code, 7, "{done:?}");
        assert!(done.stderr.contains("don't support the precondition if-match"), "{done:?}");
    }
    assert_eq!(read(folder, "x.gz").len() as u64, saved["stored_size"].as_u64().expect("a size"));
    let done = run_in(folder, &["snapshot", "large.json", "x.gz", "--if-match", "x", "--if-exists", "fail"]);
    assert_eq!(done.code, 2, "{done:?}");
}

#[test]
fn version_and_man_pages_describe_the_command() {
    let folder = folder();
    let long = ok_in(folder.path(), &["--version"]);
    let hash: String = persist_host::component_hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(long, format!("persist {}\nformat 1\ncomponent {hash}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(ok_in(folder.path(), &["-V"]), format!("persist {}\n", env!("CARGO_PKG_VERSION")));
    let saved = json(&ok_in(folder.path(), &["snapshot", "state.json", "x.gz", "--json"]));
    assert_eq!(saved["format_version"], persist_host::FORMAT_VERSION);
    let page = ok_in(folder.path(), &["man"]);
    assert!(page.contains(".TH persist 1") && page.contains("salvage"), "{page}");
    assert!(ok_in(folder.path(), &["man", "copy"]).contains("persist\\-copy"));
    assert_eq!(run_in(folder.path(), &["man", "frobnicate"]).code, 2);
}
