//! The power fails at every moment of a write.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use persist_model::Precondition;

use super::disk_after_crash::{Change, DATA, Data, Recorder, after_crash, files_below, parent, unsynced_names, write_all};
use super::helpers::{KEY, OTHER, debris, listed, noise, on, plain, save};
use crate::ErrorCode;
use crate::storage::local::{Durability, LocalFileStorage};

/// A write, and what is there before it.
struct Scenario {
    name: &'static str,
    key: &'static str,
    before: Option<Vec<u8>>,
    after: Vec<u8>,
    precondition: Precondition,
    debris: bool,
}

fn scenarios() -> Vec<Scenario> {
    let scenario = |name, key, before: Option<usize>, after: usize| Scenario {
        name,
        key,
        before: before.map(|length| noise(length, 7)),
        after: noise(after, 8),
        precondition: Precondition::None,
        debris: false,
    };
    vec![
        scenario("replace small by small", KEY, Some(1000), 2000),
        scenario("replace small by large", KEY, Some(1000), 900_000),
        scenario("replace large by small", KEY, Some(900_000), 10),
        scenario("replace large by large", KEY, Some(1_000_000), 1_200_000),
        scenario("replace by an empty state", KEY, Some(5000), 0),
        scenario("the first in its folders", "new/folders/of/x.gz", None, 600_000),
        scenario("the first of its name", "agents/one/w.gz", None, 1_500_000),
        scenario("the first at the root", "x.gz", None, 3000),
        scenario("zstd", "agents/one/x.json.zst", Some(100_000), 2_500_000),
        Scenario { precondition: Precondition::IfAbsent, ..scenario("if absent", "agents/one/new.gz", None, 300_000) },
        Scenario { debris: true, ..scenario("with debris to sweep", KEY, Some(1000), 300_000) },
    ]
}

/// Runs a write and records its changes.
fn record(scenario: &Scenario) -> (BTreeMap<String, Vec<u8>>, Vec<Change>) {
    let folder = tempfile::tempdir().unwrap();
    let engine = plain(folder.path());
    save(&engine, OTHER, b"other", Precondition::None).unwrap();
    if let Some(before) = &scenario.before {
        save(&engine, scenario.key, before, Precondition::None).unwrap();
    }
    if scenario.debris {
        fs::write(folder.path().join("agents/one/.persist-0123456789abcdef0123456789abcdef.tmp"), "half a snapshot").unwrap();
    }
    let before = files_below(folder.path());
    let recorder = Arc::new(Recorder::default());
    let mut storage = LocalFileStorage::new(folder.path());
    storage.disk.probe = Some(Arc::<Recorder>::clone(&recorder));
    save(&on(storage), scenario.key, &scenario.after, scenario.precondition.clone()).unwrap();
    let changes = recorder.0.lock().unwrap().clone();
    // Replaying all recorded changes must give the real files.
    let (files, _) = after_crash(&before, &changes, u32::MAX, Data::Kept);
    assert!(files == files_below(folder.path()), "{}", scenario.name);
    (before, changes)
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new_snapshot() {
    let mut states = 0;
    for scenario in scenarios() {
        let (before, changes) = record(&scenario);
        let mut tried = BTreeSet::new();
        for count in 0..=changes.len() {
            let happened = &changes[..count];
            let acknowledged = count == changes.len();
            for kept in 0..1_u32 << unsynced_names(happened) {
                for data in DATA {
                    let (files, folders) = after_crash(&before, happened, kept, data);
                    // States that differ only in what was lost were already tried.
                    if !tried.insert((
                        acknowledged,
                        files.iter().map(|(path, bytes)| (path.clone(), sha(bytes))).collect::<Vec<_>>(),
                        folders.clone(),
                    )) {
                        continue;
                    }
                    states += 1;
                    let folder = tempfile::tempdir().unwrap();
                    write_all(folder.path(), &files, &folders);
                    check_crash(&scenario, folder.path(), acknowledged);
                }
            }
        }
    }
    println!("{states} different crash states: the old or the new snapshot restores in each, and every acknowledged one");
    assert!(states >= 2000, "{states}");
}

pub(super) fn sha(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

fn check_crash(scenario: &Scenario, root: &Path, acknowledged: bool) {
    let engine = plain(root);
    assert_eq!(engine.restore(OTHER).expect("the other snapshot"), b"other");
    match (engine.restore(scenario.key), &scenario.before) {
        (Ok(state), _) if state == scenario.after => {}
        (Ok(state), Some(before)) => assert!(&state == before && !acknowledged, "{}", scenario.name),
        (Err(error), None) => assert!(error.code() == ErrorCode::NotFound && !acknowledged, "{}: {error:?}", scenario.name),
        (outcome, _) => panic!("{}: {:?}", scenario.name, outcome.map(|state| state.len())),
    }
    // Unfinished files are never listed, and the next write sweeps them.
    for key in listed(&engine) {
        assert!(key == OTHER || key == scenario.key, "{key}");
    }
    save(&engine, scenario.key, b"next", Precondition::None).expect("the next write");
    assert_eq!(debris(&root.join(parent(scenario.key))), Vec::<String>::new(), "{}", scenario.name);
}

/// Without syncs, the guarantee is weaker: a crash of the process, after which the
/// system keeps everything written so far, leaves the old or the new snapshot.
#[test]
fn without_syncs_a_crash_of_the_process_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let mut storage = LocalFileStorage::new(folder.path()).durability(Durability::None);
    storage.disk.probe = Some(Arc::<Recorder>::clone(&recorder));
    save(&on(storage.clone()), KEY, b"old", Precondition::None).unwrap();
    let before = files_below(folder.path());
    recorder.0.lock().unwrap().clear();
    save(&on(storage), KEY, b"new", Precondition::None).unwrap();
    let changes = recorder.0.lock().unwrap().clone();
    assert!(!changes.iter().any(|change| matches!(change, Change::SyncFile | Change::SyncFolder(_))), "nothing may wait for the disk");
    for count in 0..=changes.len() {
        let folder = tempfile::tempdir().unwrap();
        let (files, folders) = after_crash(&before, &changes[..count], u32::MAX, Data::Kept);
        write_all(folder.path(), &files, &folders);
        let state = plain(folder.path()).restore(KEY).unwrap();
        assert_eq!(state, if count == changes.len() { b"new" } else { b"old" });
    }
}
