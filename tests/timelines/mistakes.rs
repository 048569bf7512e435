//! Commands that would harm a timeline by mistake are refused, and what they are told helps.

use std::fs;

use persist_host::timeline::{OnConflict, Policy};
use persist_host::{Durability, LocalFileStorage, SnapshotOptions};
use persist_test_support::command::{files, noise};

use crate::helpers::on;
use crate::lines::{content, ok, run, with_steps};

/// A folder with a state, a snapshot of it, and a timeline with three steps.
fn folder() -> tempfile::TempDir {
    let folder = with_steps(3);
    ok(folder.path(), "snapshot state.json x.json.gz");
    folder
}

#[test]
fn nothing_takes_the_place_of_a_step() {
    let folder = folder();
    let folder = folder.path();
    let before = content(folder);
    for (line, code, said) in [
        ("snapshot state.json runs/a/s/000000000002.step", 2, "this name belongs to a timeline"),
        ("snapshot state.json runs/b/000000000009.step", 2, "append the state to a timeline"),
        ("copy x.json.gz runs/a/s/000000000002.step", 2, "a copy can't have the name of a step"),
        ("copy runs/a/s@1 runs/a/s/000000000002.step", 2, "a copy can't have the name of a step"),
        ("restore runs/a/s@2 -o runs/a/s/000000000001.step", 2, "a state can't have the name of a step"),
        ("restore x.json.gz -o runs/a/s/000000000002.step", 2, "a state can't have the name of a step"),
        ("append state.json runs/a/s@2", 2, "a step of the timeline runs/a/s"),
        ("append state.json runs/a/s@latest", 2, "steps never change"),
        ("append state.json ''", 2, "it is empty"),
        ("append state.json /", 2, "refers to the whole storage"),
        ("append state.json ///", 2, "refers to the whole storage"),
        ("append state.json file:///", 2, "refers to the whole storage"),
        ("append state.json memory://", 2, "refers to the whole storage"),
        ("append state.json '' --agent a", 2, "it is empty"),
        ("delete runs/a/s@2 --yes", 7, "'persist prune' removes steps"),
        ("salvage runs/a/s@2 -o out", 7, "'persist check' names the steps"),
        ("restore runs/a/s@0", 2, "'0' does not select a step"),
        ("restore runs/a/s@LATEST", 2, "'LATEST' does not select a step"),
        ("exists runs/a/s@9", 3, ""),
        ("exists runs/a/t", 3, ""),
    ] {
        let done = run(folder, line);
        assert_eq!(done.code, code, "persist {line}: {done:?}");
        assert!(done.stderr.contains(said), "persist {line}: {done:?}");
        assert!(content(folder) == before, "persist {line} changed something");
    }
    ok(folder, "exists runs/a/s");
    ok(folder, "exists runs/a/s/");
    // A name with an @ that is no timeline's may be used.
    ok(folder, "append state.json runs/a/x@2");
    ok(folder, "append state.json . --agent a --session b");
    ok(folder, "append state.json memory:// --agent a --session b");
}

#[test]
fn restored_states_are_not_taken_for_steps() {
    let folder = folder();
    let folder = folder.path();
    ok(folder, "restore runs/a/s@2 runs/a/s@3 -o out");
    assert_eq!(files(&folder.join("out")), ["s.2", "s.3"]);
    ok(folder, "restore runs --recursive -o all");
    assert_eq!(files(&folder.join("all")), ["a", "a/s.3"]);
    ok(folder, "restore runs/a/s --recursive -o one");
    assert_eq!(files(&folder.join("one")), ["s.3"]);
    ok(folder, "check . --read-data");
}

#[test]
fn what_check_says_of_a_catalogue_helps() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = LocalFileStorage::new(folder.path()).durability(Durability::None);
    let mut timeline = on(std::sync::Arc::new(storage)).timeline("a/s").expect("a folder");
    for turn in 0..256 {
        timeline.append(format!("{turn}").as_bytes(), &SnapshotOptions::default(), OnConflict::Fail).expect("it is appended");
    }
    drop(timeline);
    let catalogue = folder.path().join("a/s/000000000256.catalogue");
    let mut bytes = fs::read(&catalogue).expect("a catalogue");
    bytes[100] ^= 1;
    fs::write(&catalogue, bytes).expect("it is written");
    let done = run(folder.path(), "check a/s");
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.stderr.contains("'persist check --repair' rewrites this object"), "{done:?}");
    ok(folder.path(), "check a/s --repair");
    ok(folder.path(), "check a/s --read-data");
}

#[test]
fn a_large_state_that_grew_by_large_steps_is_pruned_in_the_usual_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = LocalFileStorage::new(folder.path()).durability(Durability::None);
    let mut timeline = on(std::sync::Arc::new(storage)).timeline("a/s").expect("a folder");
    let state = noise(50 * 1_000_000);
    for turn in 1..=50 {
        timeline.append(&state[..turn * 1_000_000], &SnapshotOptions::default(), OnConflict::Fail).expect("it is appended");
    }
    timeline.append(&state, &SnapshotOptions::default(), OnConflict::Fail).expect("it is appended");
    let report = timeline.prune(&Policy::default().last(1), false).expect("it is pruned");
    println!("repeated as {:?}", report.restated_as);
    assert!(timeline.load(&persist_host::timeline::StepSelector::Newest).expect("it loads") == state);
}

#[test]
fn many_steps_with_large_edit_lists_are_checked_in_the_usual_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = LocalFileStorage::new(folder.path()).durability(Durability::None);
    let mut timeline = on(std::sync::Arc::new(storage)).timeline("a/s").expect("a folder");
    let mut state = noise(400_000);
    let mut random = crate::helpers::Random(7);
    for _ in 0..700 {
        for _ in 0..4000 {
            let at = usize::try_from(random.below(400_000)).expect("a place");
            state[at] ^= 1;
        }
        timeline.append(&state, &SnapshotOptions::default(), OnConflict::Fail).expect("it is appended");
    }
    for checked in timeline.check(true).expect("it is checked") {
        let checked = checked.expect("it is checked");
        assert!(checked.error.is_none(), "{checked:?}");
    }
}
