//! A second reader, written in Python from `docs/format.md` alone, reads what Persist
//! writes and refuses what Persist refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use persist_test_support::command::{chat_bytes, ok_in, persist, run_in};
use persist_test_support::workspace::workspace;
use persist_test_support::{craft, damage};

fn reader() -> PathBuf {
    workspace().join("tests/reader.py")
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok();
    if !found {
        println!("skipped: python3 is not installed");
        assert!(std::env::var_os("PERSIST_REQUIRE_TOOLS").is_none(), "python3 is required, but not installed");
    }
    found
}

fn read(folder: &Path, name: &str) -> Output {
    Command::new("python3").arg(reader()).arg(folder.join(name)).output().expect("python starts")
}

#[test]
fn it_is_short() {
    let lines = fs::read_to_string(reader()).expect("the reader").lines().count();
    assert!(lines < 220, "{lines} lines");
}

#[test]
fn it_reads_every_sample() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut samples = 0;
    for size in [0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 18) + 1, 5_000_000] {
        let state = chat_bytes(size);
        fs::write(folder.join("state"), &state).expect("a state");
        for (name, level) in [("x.gz", "1"), ("x.gz", "9"), ("x.zst", "-7"), ("x.zst", "4")] {
            ok_in(
                folder,
                &["snapshot", "state", name, "--level", level, "--label", "é=\"quoted\"", "--description", &"long ".repeat(5000)],
            );
            let output = read(folder, name);
            match output.status.code() {
                Some(0) => assert!(output.stdout == state, "{name} of {size}"),
                // Checked but not decoded, since this Python has no zstd.
                Some(3) => assert!(name == "x.zst", "{name} of {size}"),
                other => panic!("{name} of {size}: {other:?}: {}", String::from_utf8_lossy(&output.stderr)),
            }
            samples += 1;
        }
    }
    println!("the second reader read {samples} samples");
}

#[test]
fn it_reads_all_golden_files_and_no_file_of_two_states() {
    if !has_python() {
        return;
    }
    let (mut golden, mut folders) = (0, vec![reader().parent().expect("a folder").join("golden")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let output = read(Path::new(""), path.to_str().expect("text"));
            let is_zstd = path.extension().is_some_and(|extension| extension == "zst");
            let expected = ok_bytes(&["restore", path.to_str().expect("text")]);
            match output.status.code() {
                Some(0) => {
                    assert!(output.stdout == expected, "{}", path.display());
                    let is_sealed = path.to_str().expect("text").contains("sealed");
                    assert_eq!(output.stderr == b"sealed, not checked\n", is_sealed, "{}", path.display());
                }
                // Checked but not decoded, since this Python has no zstd.
                Some(3) => assert!(is_zstd, "{}", path.display()),
                other => panic!("{}: {other:?}: {}", path.display(), String::from_utf8_lossy(&output.stderr)),
            }
            golden += 1;
        }
    }
    assert!(golden >= 6, "{golden}");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("two.gz"), craft::two_states()).expect("a file");
    let output = read(folder.path(), "two.gz");
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && output.stdout.is_empty() && says.contains("a frame does not end"), "{says}");
    fs::write(folder.path().join("open.gz"), craft::open_end()).expect("a file");
    let output = read(folder.path(), "open.gz");
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && output.stdout.is_empty() && says.contains("the data does not end"), "{says}");
    assert_eq!(run_in(folder.path(), &["verify", "open.gz"]).code, 5);
}

fn ok_bytes(arguments: &[&str]) -> Vec<u8> {
    let output = persist().args(arguments).output().expect("persist starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The harness that tries every flipped bit, truncation and added byte of a small
/// snapshot in one Python process.
const HARNESS: &str = "
import zlib
sys.path.insert(0, sys.argv[1])
import reader

def refuses(file):
    try:
        for _ in reader.blocks(file):
            pass
        return False
    except (reader.Refused, AttributeError, KeyError, RecursionError, TypeError, ValueError, reader.struct.error, zlib.error):
        return True

whole = open(sys.argv[2], 'rb').read()
assert not refuses(whole)
report(whole, refuses, 8)
";

#[test]
fn it_refuses_every_damaged_snapshot() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("state"), chat_bytes(300)).expect("a state");
    for name in ["x.gz", "x.zst"] {
        ok_in(folder.path(), &["snapshot", "state", name]);
        let mut command = Command::new("python3");
        command.args(["-B", "-c", &damage::harness(HARNESS)]).arg(reader().parent().expect("a folder")).arg(folder.path().join(name));
        let output = command.output().expect("python starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        println!("{name}: the second reader refused all {} damaged files", String::from_utf8_lossy(&output.stdout).trim());
    }
    // Both refuse a file that is not a snapshot.
    fs::write(folder.path().join("other"), b"\x89PNG").expect("a file");
    assert_eq!(read(folder.path(), "other").status.code(), Some(1));
    assert_eq!(run_in(folder.path(), &["show", "other"]).code, 5);
}
