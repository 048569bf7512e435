//! Timelines on failing files: every operation of an append, a pruning and a deletion fails,
//! and the power fails at every moment of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use persist_model::{HistoryEntry, ListFilter, OnConflict, Policy, SnapshotOptions, StepSelector};
use rustix::io::Errno;
use tempfile::TempDir;

use super::disk_after_crash::{Data, Recorder, after_crash, files_below, unsynced_names, write_all};
use super::helpers::{debris, noise, on, plain};
use super::operations::{FailingProbe, Fault};
use super::power_cuts::sha;
use crate::storage::local::LocalFileStorage;
use crate::{Engine, ErrorCode, PersistError, Timeline};

const TIMELINE: &str = "agents/one";

/// Another folder, with no timeline yet.
const NEW: &str = "fresh/deep";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    AppendFirst,
    Append,
    Prune,
    Delete,
}

const CALLS: [Call; 4] = [Call::AppendFirst, Call::Append, Call::Prune, Call::Delete];

/// Returns the states of the timeline, and the next one. Each adds to the one before it; the
/// fourth begins anew.
fn states() -> Vec<Vec<u8>> {
    (0..7).map(|number| noise(3000 + number % 3 * 100, number as u64 / 3)).collect()
}

fn open(engine: &Engine, folder: &str) -> Timeline {
    engine.timeline(folder).expect("a folder")
}

/// Keeps the newest step, which needs the others: so it is repeated.
fn policy() -> Policy {
    Policy::default().last(1)
}

fn append(engine: &Engine, folder: &str, state: &[u8]) -> Result<u64, PersistError> {
    let mut timeline = open(engine, folder);
    let step = timeline.append(state, &SnapshotOptions::default(), OnConflict::Fail)?;
    // Dropping the timeline writes the hint.
    Ok(step.number)
}

fn prepared(states: &[Vec<u8>]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let engine = plain(folder.path());
    for (number, state) in (1..).zip(&states[..6]) {
        assert_eq!(append(&engine, TIMELINE, state).unwrap(), number);
    }
    folder
}

impl Call {
    fn folder(self) -> &'static str {
        if self == Self::AppendFirst { NEW } else { TIMELINE }
    }

    fn run(self, engine: &Engine, next: &[u8]) -> Result<(), PersistError> {
        match self {
            Self::AppendFirst | Self::Append => append(engine, self.folder(), next).map(drop),
            Self::Prune => open(engine, TIMELINE).prune(&policy(), false).map(drop),
            Self::Delete => open(engine, TIMELINE).delete().map(drop),
        }
    }
}

/// Returns the states that a timeline shows, the newest first. Each of them loads, and the
/// check finds nothing.
fn shown(timeline: &Timeline) -> Vec<Vec<u8>> {
    for checked in timeline.check(true).expect("it is checked") {
        let checked = checked.expect("it is checked");
        assert!(checked.error.is_none(), "{checked:?}");
    }
    let load = |entry| match entry {
        Ok(HistoryEntry::Step(step)) => timeline.load(&StepSelector::Number(step.number)).expect("it loads"),
        other => panic!("{other:?}"),
    };
    timeline.history(ListFilter::default(), None).expect("a history").map(load).collect()
}

/// Checks what a call has left, and that it can be made again.
fn check_after(call: Call, is_done: bool, root: &Path, states: &[Vec<u8>]) {
    let engine = plain(root);
    let now = shown(&open(&engine, call.folder()));
    let (before, next) = (states[..6].iter().rev().cloned().collect::<Vec<_>>(), &states[6]);
    match call {
        Call::AppendFirst => assert!(now == [next.clone()] || now.is_empty() && !is_done, "{} steps", now.len()),
        Call::Append => {
            let appended = now.first() == Some(next);
            assert!(now[usize::from(appended)..] == before && (appended || !is_done), "{} steps", now.len());
        }
        Call::Prune => {
            assert!(now.first() == before.first() && now.iter().all(|state| before.contains(state)), "{} steps", now.len());
            assert!(now.len() == 1 || !is_done);
            open(&engine, TIMELINE).prune(&policy(), false).expect("it is finished");
            assert!(shown(&open(&engine, TIMELINE)) == before[..1]);
        }
        Call::Delete => {
            assert!(now.is_empty() || now == before && !is_done, "{} steps", now.len());
            open(&engine, TIMELINE).delete().expect("it is finished");
            assert!(shown(&open(&engine, TIMELINE)).is_empty());
        }
    }
    // The next writer goes on, and sweeps what was left.
    let number = append(&engine, call.folder(), b"the end").expect("the next append");
    assert_eq!(open(&engine, call.folder()).load(&StepSelector::Number(number)).expect("it loads"), b"the end");
    assert_eq!(debris(&root.join(call.folder())), Vec::<String>::new());
}

#[test]
fn every_operation_on_a_timeline_may_fail() {
    let states = states();
    let template = prepared(&states);
    let files = files_below(template.path());
    let faults =
        [(Fault::Error(Errno::IO), false), (Fault::Error(Errno::NOSPC), true), (Fault::Error(Errno::INTR), false), (Fault::Short, true)];
    let (mut total, mut failed) = (0, 0);
    for call in CALLS {
        for (fault, for_ever) in faults {
            for fails_at in 0.. {
                let folder = tempfile::tempdir().unwrap();
                write_all(folder.path(), &files, &BTreeSet::new());
                let probe = Arc::new(FailingProbe { count: AtomicUsize::new(0), fails_at, fault, for_ever });
                let mut storage = LocalFileStorage::new(folder.path());
                storage.disk.probe = Some(Arc::<FailingProbe>::clone(&probe));
                let outcome = call.run(&on(storage), &states[6]);
                if let Err(error) = &outcome {
                    assert!(error.location().is_some() && error.code() != ErrorCode::Other, "{call:?}, {fault:?} at {fails_at}: {error:?}");
                    assert!(!matches!(fault, Fault::Short), "{call:?}: a short write is not an error: {error:?}");
                    failed += 1;
                }
                check_after(call, outcome.is_ok(), folder.path(), &states);
                if probe.count.load(Ordering::Relaxed) <= fails_at {
                    assert!(outcome.is_ok(), "{call:?} without a fault: {outcome:?}");
                    break;
                }
                total += 1;
            }
        }
    }
    println!("{total} faults in {} calls on a timeline, {failed} of them reported as errors: no acknowledged step lost", CALLS.len());
    assert!(total >= 500, "{total}");
}

#[test]
fn a_power_cut_leaves_every_acknowledged_step() {
    let states = states();
    let mut total = 0;
    for call in CALLS {
        let folder = prepared(&states);
        let before = files_below(folder.path());
        let recorder = Arc::new(Recorder::default());
        let mut storage = LocalFileStorage::new(folder.path());
        storage.disk.probe = Some(Arc::<Recorder>::clone(&recorder));
        call.run(&on(storage), &states[6]).expect("nothing fails");
        let changes = recorder.0.lock().unwrap().clone();
        let (files, _) = after_crash(&before, &changes, u32::MAX, Data::Kept);
        assert!(files == files_below(folder.path()), "{call:?}: replaying all changes gives the real files");
        let mut tried = BTreeSet::new();
        for count in 0..=changes.len() {
            let (happened, is_done) = (&changes[..count], count == changes.len());
            for kept in 0..1_u32 << unsynced_names(happened) {
                for data in [Data::Kept, Data::Gone, Data::Cut(2), Data::Torn(2), Data::Strange(1)] {
                    let (files, folders) = after_crash(&before, happened, kept, data);
                    let digests: Vec<_> = files.iter().map(|(path, bytes)| (path.clone(), sha(bytes))).collect();
                    if !tried.insert((is_done, digests, folders.clone())) {
                        continue;
                    }
                    total += 1;
                    let folder = tempfile::tempdir().unwrap();
                    fs::create_dir_all(folder.path().join(call.folder())).unwrap();
                    write_all(folder.path(), &files, &folders);
                    check_after(call, is_done, folder.path(), &states);
                }
            }
        }
    }
    println!("{total} different crash states of timelines: every acknowledged step loads in each");
    assert!(total >= 100, "{total}");
}
