//! A large state of which little changes: little memory, and little space.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use persist_host::timeline::{OnConflict, StepSelector};
use persist_host::{Durability, ErrorCode, LocalFileStorage, SnapshotOptions, Timeline};
use persist_test_support::command::{chat_state, in_soak, json, peak_of, persist};

use crate::helpers::on;

const MIB: u64 = 1 << 20;

/// The maximum memory of appending or restoring it in MiB.
const MAX_RESIDENT: u64 = 512;

/// In how many places a state changes.
const PLACES: u64 = 20;

/// Returns a state, with `turn` changes in each of some places, 1 % of the whole each time.
fn state(size: u64, turn: u64) -> impl Iterator<Item = Vec<u8>> {
    let (apart, length) = (size / PLACES, size / PLACES / 100);
    let mut at = 0;
    chat_state(size).map(move |mut chunk| {
        for byte in &mut chunk {
            // Each turn changes another part of each place.
            if byte.is_ascii_lowercase() && (1..=turn).any(|turn| (at % apart) / length == turn * 10) {
                *byte = b'z' - (*byte - b'a');
            }
            at += 1;
        }
        chunk
    })
}

/// Appends a state. Returns how many bytes are stored for it.
fn append(folder: &Path, size: u64, turn: u64) -> u64 {
    let mut command = persist();
    command.current_dir(folder).args(["append", "-", "runs/large", "--json", "--durability", "none"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("persist starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let (done, peak) = std::thread::scope(|scope| {
        scope.spawn(move || state(size, turn).for_each(|chunk| stdin.write_all(&chunk).expect("persist reads")));
        peak_of(child)
    });
    assert_eq!(done.code, 0, "{done:?}");
    let appended = json(&done.stdout);
    assert_eq!(appended["number"], turn + 1);
    let stored = appended["metadata"]["stored_size"].as_u64().expect("a size");
    println!("{} MiB, step {}: {stored} bytes stored, at most {peak} MiB resident", size / MIB, turn + 1);
    assert!(peak < MAX_RESIDENT, "{peak} MiB");
    stored
}

fn restore(folder: &Path, size: u64, turn: u64) {
    let step = format!("runs/large@{}", turn + 1);
    let mut command = persist();
    command.current_dir(folder).args(["restore", &step, "-o", "restored"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (done, peak) = peak_of(command.spawn().expect("persist starts"));
    assert_eq!(done.code, 0, "{done:?}");
    println!("{} MiB, restoring step {}: at most {peak} MiB resident", size / MIB, turn + 1);
    assert!(peak < MAX_RESIDENT, "{peak} MiB");
    let mut restored = File::open(folder.join("restored")).expect("it was restored");
    let mut found = Vec::new();
    for expected in state(size, turn) {
        found.resize(expected.len(), 0);
        restored.read_exact(&mut found).expect("it is long enough");
        assert!(found == expected);
    }
    assert_eq!(restored.read(&mut [0]).expect("the end"), 0);
}

fn changes(size: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let full = append(folder, size, 0);
    for turn in 1..3 {
        let changed = append(folder, size, turn);
        let percent = changed as f64 * 100.0 / full as f64;
        println!("{} MiB, 1 % changed in {PLACES} places: {percent:.2} % of a full snapshot", size / MIB);
        assert!(percent < 2.0, "{percent} %");
    }
    for turn in 0..3 {
        restore(folder, size, turn);
    }
}

#[test]
fn a_state_of_100_mb_takes_under_2_percent_for_a_change_of_1_percent() {
    changes(100_000_000);
}

#[test]
fn a_large_state_is_appended_and_restored_in_little_memory() {
    changes(in_soak(200 * MIB, 1024 * MIB));
}

#[test]
fn a_state_after_a_large_one_of_another_writer_is_appended_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let timeline = || {
        let storage = LocalFileStorage::new(folder.path()).durability(Durability::None);
        on(Arc::new(storage)).timeline("runs/large").expect("a folder")
    };
    let large: Vec<u8> = state(70 * MIB, 0).flatten().collect();
    let (mut one, mut other) = (timeline(), timeline());
    let append = |timeline: &mut Timeline, state: &[u8], on_conflict| timeline.append(state, &SnapshotOptions::default(), on_conflict);
    let mut next = 0;
    // Each knows another step as the newest, a large one or a small one.
    for state in [&large[..], b"small", &large[1..], &large[2..], b"smaller"] {
        for timeline in [&mut one, &mut other] {
            next += 1;
            let step = append(timeline, state, OnConflict::Rebase).expect("it is appended after the other's");
            assert_eq!(step.number, next);
            assert!(timeline.load(&StepSelector::Number(next)).expect("it loads") == state);
        }
    }
    for state in [&large[..], b"small"] {
        append(&mut one, b"known", OnConflict::Rebase).expect("it is appended");
        next = append(&mut other, b"newer", OnConflict::Rebase).expect("it is appended").number;
        let error = append(&mut one, state, OnConflict::Fail).expect_err("the other has appended");
        assert_eq!(error.code(), ErrorCode::AlreadyExists, "{error:?}");
        assert!(error.detail().facts.contains(&("number".to_owned(), next.to_string())), "{error:?}");
    }
}
