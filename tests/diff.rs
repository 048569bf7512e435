//! Differences between states: the command, and the engine with large states.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use persist_host::timeline::OnConflict;
use persist_host::{DiffKind, DiffSource, Engine, LocalFileStorage, MemoryStorage, Operation, PersistError, SnapshotOptions};
use persist_test_support::command::{Done, persist};
use serde_json::{Value, json};

const BEFORE: &str = r#"{"agent": {"temperature": 0.2}, "messages": [{"role": "user", "content": "Hello"}], "old": 1}"#;
const AFTER: &str = r#"{
  "agent": {"temperature": 0.7},
  "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi \u001b[31m"}]
}"#;

fn run(folder: &Path, arguments: &[&str]) -> Done {
    persist().current_dir(folder).args(arguments).stdin(Stdio::null()).output().expect("it starts").into()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let done = run(folder, arguments);
    assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
    done.stdout
}

/// A folder with the two states as files, as snapshots and as steps.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("before.json"), BEFORE).unwrap();
    fs::write(path.join("after.json"), AFTER).unwrap();
    for name in ["before", "after"] {
        let file = format!("{name}.json");
        ok(path, &["snapshot", &file, &format!("{name}.json.gz")]);
        ok(path, &["append", &file, "runs/support/case-1"]);
    }
    folder
}

const CHANGES: &str = "- /old: 1
~ /agent/temperature: 0.2 → 0.7
+ /messages/1: assistant: \"Hi \\u001b[31m\"
1 value added, 1 value removed, 1 value changed
";

#[test]
fn all_forms_of_a_state_can_be_compared() {
    let folder = folder();
    let folder = folder.path();
    for (before, after) in [
        ("before.json", "after.json"),
        ("before.json.gz", "after.json"),
        ("before.json", "after.json.gz"),
        ("runs/support/case-1@1", "after.json.gz"),
        ("runs/support/case-1@-2", "runs/support/case-1"),
    ] {
        assert_eq!(ok(folder, &["diff", before, after]), format!("--- {before}\n+++ {after}\n{CHANGES}"), "{before} {after}");
        let patch: json_patch::Patch = serde_json::from_str(&ok(folder, &["diff", before, after, "--json"])).unwrap();
        let mut state: Value = serde_json::from_str(BEFORE).unwrap();
        json_patch::patch(&mut state, &patch).unwrap();
        assert_eq!(state, serde_json::from_str::<Value>(AFTER).unwrap());
    }
    // A step alone is one of the same timeline.
    for before in ["runs/support/case-1@1", "runs/support/case-1@-2"] {
        let shown = ok(folder, &["diff", before, "@latest"]);
        assert_eq!(shown, format!("--- {before}\n+++ runs/support/case-1@latest\n{CHANGES}"));
    }
    let shown = ok(folder, &["diff", "runs/support/case-1", "@1"]);
    assert!(shown.starts_with("--- runs/support/case-1\n+++ runs/support/case-1@1\n"), "{shown}");
    let colored = ok(folder, &["diff", "before.json", "after.json", "--color", "always"]);
    assert!(colored.contains("\u{1b}[33m~ /agent/temperature: 0.2 → 0.7\u{1b}[0m\n"), "{colored}");
}

#[test]
fn a_state_may_come_from_stdin() {
    let folder = folder();
    let mut command = persist();
    command.current_dir(folder.path()).args(["diff", "before.json.gz", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(AFTER.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("--- before.json.gz\n+++ -\n{CHANGES}"));
    let done = run(folder.path(), &["diff", "-", "-"]);
    assert!(done.code == 2 && done.stderr.contains("only one of the states"), "{done:?}");
}

#[test]
fn equal_states_have_no_differences() {
    let folder = folder();
    let folder = folder.path();
    let done = run(folder, &["diff", "before.json", "runs/support/case-1@1"]);
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", "the states are equal\n"));
    assert_eq!(ok(folder, &["diff", "before.json", "runs/support/case-1@1", "--json"]), "[]\n");
    fs::write(folder.join("compact.json"), serde_json::from_str::<Value>(BEFORE).unwrap().to_string()).unwrap();
    assert!(ok(folder, &["diff", "before.json", "compact.json"]).ends_with("the values are equal, but written differently\n"));
    assert_eq!(ok(folder, &["diff", "before.json", "compact.json", "--json"]), "[]\n");
}

#[test]
fn text_is_compared_by_line_and_anything_else_by_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("a.txt"), "one\ntwo\nthree\n").unwrap();
    fs::write(folder.join("b.txt"), "one\n2\nthree").unwrap();
    fs::write(folder.join("c.bin"), [0xff, 0]).unwrap();
    let expected = "--- a.txt\n+++ b.txt\n@@ -1,3 +1,3 @@\n one\n-two\n-three\n+2\n+three\n\\ No newline at end of file\n";
    assert_eq!(ok(folder, &["diff", "a.txt", "b.txt"]), expected);
    assert_eq!(ok(folder, &["diff", "a.txt", "c.bin"]), "Binary states differ: 14 bytes and 2 bytes\n");
    let done = run(folder, &["diff", "a.txt", "b.txt", "--json"]);
    assert!(done.code == 2 && done.stderr.contains("leave out --json"), "{done:?}");
}

#[test]
fn what_can_not_be_compared_is_refused() {
    let folder = folder();
    let folder = folder.path();
    for (arguments, code, message) in [
        (["before.json", "missing.json"], 3, "missing.json"),
        (["runs/support/case-1@9", "before.json"], 3, "the timeline has no step 9"),
        (["runs/support", "before.json"], 2, "this is a folder without a timeline: runs/support"),
        (["", "before.json"], 2, "it is empty"),
    ] {
        let done = run(folder, &["diff", arguments[0], arguments[1]]);
        assert!(done.code == code && done.stderr.contains(message) && done.stdout.is_empty(), "{arguments:?}: {done:?}");
    }
    // One flipped bit is found.
    let path = folder.join("before.json.gz");
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, bytes).unwrap();
    let done = run(folder, &["diff", "before.json.gz", "after.json"]);
    assert!(done.code == 5 && done.stdout.is_empty(), "{done:?}");
}

/// A JSON state of about this many messages of 1 kB.
fn messages(count: usize, change: impl Fn(usize) -> Option<&'static str>) -> Vec<u8> {
    let mut state = b"{\"messages\": [".to_vec();
    for index in 0..count {
        if index > 0 {
            state.push(b',');
        }
        let content = change(index).map_or_else(|| format!("{index:010}").repeat(100), str::to_owned);
        state.extend_from_slice(json!({"id": index, "content": content}).to_string().as_bytes());
    }
    state.extend_from_slice(b"], \"end\": true}");
    state
}

#[test]
fn large_states_are_compared_in_bounded_memory() {
    // Over 32 MiB, so they are read in parts; the component has 256 MiB.
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::builder().storage(LocalFileStorage::new(folder.path())).memory_limit(256 << 20).build().unwrap();
    let before = messages(60_000, |_| None);
    let after = messages(60_001, |index| match index {
        7 => Some("changed"),
        60_000 => Some("added"),
        _ => None,
    });
    assert!(before.len() > 60_000_000);
    engine.snapshot("before.json.zst", &before, &SnapshotOptions::default()).unwrap();
    engine.snapshot("after.json.gz", &after, &SnapshotOptions::default()).unwrap();
    let mut timeline = engine.timeline("steps").unwrap();
    for state in [&before, &after] {
        timeline.append(state, &SnapshotOptions::default(), OnConflict::Fail).unwrap();
    }
    fs::write(folder.path().join("after.json"), &after).unwrap();
    let stored = |key: &str| DiffSource::Stored(key.to_owned());
    for (before, after) in [
        (stored("before.json.zst"), stored("after.json.gz")),
        (stored("steps/000000000001.step"), stored("steps/000000000002.step")),
        (stored("before.json.zst"), DiffSource::Object("after.json".to_owned())),
    ] {
        let found: Vec<_> = engine.diff(before, after).unwrap().collect::<Result<_, _>>().unwrap();
        let places: Vec<_> = found.iter().map(|change| (change.operation, change.path.as_str())).collect();
        assert_eq!(places, [(Operation::Replace, "/messages/7/content"), (Operation::Add, "/messages/60000")]);
    }
}

#[test]
fn two_storages_are_compared() {
    let (one, other) = (MemoryStorage::new(), MemoryStorage::new());
    let build = |storage: MemoryStorage| Engine::builder().storage(storage).build().unwrap();
    let (one, other) = (build(one), build(other));
    one.snapshot("x.json.gz", BEFORE.as_bytes(), &SnapshotOptions::default()).unwrap();
    other.timeline("x").unwrap().append(AFTER.as_bytes(), &SnapshotOptions::default(), OnConflict::Fail).unwrap();
    let source = || DiffSource::Stored("x.json.gz".to_owned());
    let diff = one.diff_with(source(), &other, DiffSource::Stored("x/000000000001.step".to_owned())).unwrap();
    assert_eq!((diff.kind(), diff.count()), (DiffKind::Json, 3));
    let missing = one.diff_with(source(), &other, source()).unwrap_err();
    assert!(matches!(missing, PersistError::NotFound(_)), "{missing}");
    let location = missing.location().expect("the error has the location");
    assert!(location.ends_with("x.json.gz") && !location.contains("2/x.json.gz"), "as in its storage: {location}");
}
