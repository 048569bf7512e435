//! Tests of snapshots on failing files. Every operation of every call fails, once or
//! from then on, and the power fails at every moment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use persist_model::Precondition;
use rustix::io::Errno;
use tempfile::TempDir;

use super::disk::{Operation, Probe};
use super::{Durability, LocalFileStorage};
use crate::{Engine, ErrorCode, ListEntry, PersistError, SnapshotOptions};

const KEY: &str = "agents/one/x.json.gz";
const OTHER: &str = "agents/one/y.json.gz";

/// Incompressible bytes, so that a save needs several writes.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = seed | 1;
    (0..length)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 32) as u8
        })
        .collect()
}

/// One engine for all these tests, since making one takes longer than they do.
fn engine() -> &'static Engine {
    static ENGINE: std::sync::LazyLock<Engine> = std::sync::LazyLock::new(|| Engine::builder().build().expect("an engine"));
    &ENGINE
}

fn on(storage: LocalFileStorage) -> Engine {
    engine().with_storage(Arc::new(storage))
}

/// Returns an engine without faults that does not wait for the disk.
fn plain(root: &Path) -> Engine {
    on(LocalFileStorage::new(root).durability(Durability::None))
}

fn save(engine: &Engine, key: &str, state: &[u8], precondition: Precondition) -> Result<(), PersistError> {
    let options = SnapshotOptions { precondition, ..SnapshotOptions::default() };
    engine.snapshot(key, state, &options).map(drop)
}

/// Returns the names of all unfinished files below the root.
fn debris(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if persist_paths::key::is_temporary(&name) {
                found.push(name);
            }
        }
    }
    found
}

fn listed(engine: &Engine) -> Vec<String> {
    let entries = engine.list("").collect::<Result<Vec<_>, _>>().expect("it is listed");
    entries
        .into_iter()
        .map(|entry| match entry {
            ListEntry::Snapshot(metadata) => metadata.key,
            ListEntry::Unreadable { key, error } => panic!("{key}: {error}"),
        })
        .collect()
}

// ---- Every operation fails, one at a time ----------------------------------

/// How an operation fails.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Error(Errno),
    /// A write accepts half of the bytes; other operations succeed.
    Short,
}

/// Makes operation number `fails_at` fail, and with `for_ever` all after it.
#[derive(Debug)]
struct FailingProbe {
    count: AtomicUsize,
    fails_at: usize,
    fault: Fault,
    for_ever: bool,
}

impl Probe for FailingProbe {
    fn before(&self, operation: &Operation<'_>) -> io::Result<usize> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        if number != self.fails_at && !(self.for_ever && number > self.fails_at) {
            return Ok(usize::MAX);
        }
        match (self.fault, operation) {
            (Fault::Error(error), _) => Err(error.into()),
            (Fault::Short, Operation::Write(bytes)) => Ok(bytes.len().div_ceil(2)),
            (Fault::Short, _) => Ok(usize::MAX),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    SaveNew,
    SaveReplace,
    SaveIfAbsent,
    Restore,
    Metadata,
    Verify,
    Exists,
    List,
    Delete,
    Copy,
}

const CALLS: [Call; 10] = [
    Call::SaveNew,
    Call::SaveReplace,
    Call::SaveIfAbsent,
    Call::Restore,
    Call::Metadata,
    Call::Verify,
    Call::Exists,
    Call::List,
    Call::Delete,
    Call::Copy,
];

impl Call {
    fn run(self, engine: &Engine, old: &[u8], new: &[u8]) -> Result<(), PersistError> {
        match self {
            Self::SaveNew => save(engine, "fresh/deep/z.json.gz", new, Precondition::None),
            Self::SaveReplace => save(engine, KEY, new, Precondition::None),
            Self::SaveIfAbsent => save(engine, "agents/one/z.json.gz", new, Precondition::IfAbsent),
            Self::Restore => engine.restore(KEY).map(|state| assert!(state == old)),
            Self::Metadata => engine.metadata(KEY).map(|metadata| assert_eq!(metadata.uncompressed_size, old.len() as u64)),
            Self::Verify => engine.verify(KEY).map(drop),
            Self::Exists => engine.exists(KEY).map(|exists| assert!(exists)),
            // A folder or file that fails is an entry with the error.
            Self::List => engine.list("").collect::<Result<Vec<_>, _>>().and_then(|entries| {
                let failed = entries.iter().find_map(|entry| match entry {
                    ListEntry::Unreadable { error, .. } => Some(error.clone()),
                    ListEntry::Snapshot(_) => None,
                });
                assert!(entries.len() == 2 || failed.is_some(), "{entries:?}");
                failed.map_or(Ok(()), Err)
            }),
            Self::Delete => engine.delete(KEY, Precondition::None),
            Self::Copy => engine.copy(KEY, engine, "agents/copy/x.json.gz", Precondition::None, |_| {}).map(drop),
        }
    }

    /// Returns the key that the call writes, if any.
    fn target(self) -> Option<&'static str> {
        match self {
            Self::SaveNew => Some("fresh/deep/z.json.gz"),
            Self::SaveReplace => Some(KEY),
            Self::SaveIfAbsent => Some("agents/one/z.json.gz"),
            Self::Copy => Some("agents/copy/x.json.gz"),
            _ => None,
        }
    }
}

fn prepared(old: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    save(&plain(folder.path()), KEY, old, Precondition::None).unwrap();
    save(&plain(folder.path()), OTHER, b"other", Precondition::None).unwrap();
    folder
}

fn check_after(call: Call, outcome: &Result<(), PersistError>, root: &Path, old: &[u8], new: &[u8]) {
    let engine = plain(root);
    assert_eq!(engine.restore(OTHER).expect("the other snapshot"), b"other");
    match call {
        Call::SaveReplace => {
            let state = engine.restore(KEY).expect("the old or the new one");
            assert!(state == new || (outcome.is_err() && state == old));
        }
        Call::Delete => match engine.restore(KEY) {
            Ok(state) => assert!(outcome.is_err() && state == old),
            Err(error) => assert_eq!(error.code(), ErrorCode::NotFound),
        },
        _ => assert!(engine.restore(KEY).expect("it was only read") == old),
    }
    if let Some(target) = call.target().filter(|target| *target != KEY) {
        let expected = if call == Call::Copy { old } else { new };
        match engine.restore(target) {
            Ok(state) => assert!(state == expected),
            Err(error) => assert!(outcome.is_err() && error.code() == ErrorCode::NotFound, "{error:?}"),
        }
    }
    listed(&engine);
    // The next write into the folder sweeps what was left there.
    if let Some(target) = call.target() {
        save(&engine, target, b"next", Precondition::None).expect("the next write");
        assert_eq!(engine.restore(target).expect("the next state"), b"next");
        let folder = root.join(target);
        assert_eq!(debris(folder.parent().unwrap()), Vec::<String>::new());
    }
}

#[test]
fn every_operation_may_fail() {
    let (old, new) = (noise(300_000, 1), noise(700_000, 2));
    let faults =
        [Fault::Error(Errno::IO), Fault::Error(Errno::NOSPC), Fault::Error(Errno::INTR), Fault::Error(Errno::ACCESS), Fault::Short];
    let (mut total, mut failed) = (0, 0);
    for call in CALLS {
        for fault in faults {
            for for_ever in [false, true] {
                for fails_at in 0.. {
                    let folder = prepared(&old);
                    let probe = Arc::new(FailingProbe { count: AtomicUsize::new(0), fails_at, fault, for_ever });
                    let mut storage = LocalFileStorage::new(folder.path());
                    storage.disk.probe = Some(Arc::<FailingProbe>::clone(&probe));
                    if matches!(fault, Fault::Error(Errno::INTR)) && for_ever {
                        // A call that is always interrupted would be retried forever.
                        break;
                    }
                    let outcome = call.run(&on(storage), &old, &new);
                    if probe.count.load(Ordering::Relaxed) <= fails_at {
                        assert!(outcome.is_ok(), "{call:?} without a fault: {outcome:?}");
                        break;
                    }
                    if let Err(error) = &outcome {
                        assert!(error.location().is_some(), "{error:?}");
                        assert!(!matches!(fault, Fault::Short), "{call:?}: a short write is not an error: {error:?}");
                        failed += 1;
                    }
                    check_after(call, &outcome, folder.path(), &old, &new);
                    total += 1;
                }
            }
        }
    }
    println!(
        "{total} faults in {} calls, {failed} of them reported as errors: no acknowledged snapshot lost, no wrong byte accepted",
        CALLS.len()
    );
    assert!(total >= 500, "{total}");
}

// ---- The power fails at every moment ---------------------------------------

/// An operation that changes the disk. Paths are relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    MakeFolder(String),
    Create(String),
    Write(Vec<u8>),
    SyncFile,
    Rename(String, String),
    Remove(String),
    SyncFolder(String),
}

/// Writes are split into pieces of this size, in bytes.
const WRITE: usize = 32 << 10;

#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Change>>);

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Probe for Recorder {
    fn before(&self, operation: &Operation<'_>) -> io::Result<usize> {
        let change = match operation {
            Operation::MakeFolder(path) => Change::MakeFolder((*path).to_owned()),
            Operation::Create(folder, name) => Change::Create(join(folder, name)),
            // The power may also fail in the middle of a write.
            Operation::Write(bytes) => {
                self.0.lock().unwrap().extend(bytes.chunks(WRITE).map(|part| Change::Write(part.to_vec())));
                return Ok(usize::MAX);
            }
            Operation::SyncFile => Change::SyncFile,
            Operation::Rename(folder, from, to) => Change::Rename(join(folder, from), join(folder, to)),
            Operation::Remove(folder, name) => Change::Remove(join(folder, name)),
            Operation::SyncFolder(path) => Change::SyncFolder((*path).to_owned()),
            _ => return Ok(usize::MAX),
        };
        self.0.lock().unwrap().push(change);
        Ok(usize::MAX)
    }
}

/// What happened to unsynced data. A number is a position, in quarters.
#[derive(Clone, Copy, Debug)]
enum Data {
    Kept,
    Gone,
    /// Only the beginning is there.
    Cut(usize),
    /// The length is right, but everything after the position is zeros, as file systems
    /// leave blocks that were allocated and never written.
    Torn(usize),
    /// The length is right, but one block has other data.
    Strange(usize),
}

const DATA: [Data; 11] = [
    Data::Kept,
    Data::Gone,
    Data::Cut(1),
    Data::Cut(2),
    Data::Cut(3),
    Data::Torn(1),
    Data::Torn(2),
    Data::Torn(3),
    Data::Strange(1),
    Data::Strange(2),
    Data::Strange(3),
];

impl Data {
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        let at = |quarter: usize| bytes.len() * quarter / 4;
        match self {
            Self::Kept => bytes.to_vec(),
            Self::Gone => Vec::new(),
            Self::Cut(quarter) => bytes[..at(quarter)].to_vec(),
            Self::Torn(quarter) => [&bytes[..at(quarter)], &vec![0; bytes.len() - at(quarter)]].concat(),
            Self::Strange(quarter) => {
                let mut strange = bytes.to_vec();
                let end = strange.len().min(at(quarter) + 4096);
                strange[at(quarter)..end].fill(0xa5);
                strange
            }
        }
    }
}

/// Returns the files, by path, and the folders after a crash. Changes of names that no
/// later sync of their folder covers happened or not, as the bits of `kept` say. `data`
/// is what happened to unsynced data.
fn after_crash(
    before: &BTreeMap<String, Vec<u8>>,
    changes: &[Change],
    kept: u32,
    data: Data,
) -> (BTreeMap<String, Vec<u8>>, BTreeSet<String>) {
    let (mut files, mut folders) = (before.clone(), BTreeSet::new());
    let written: Vec<u8> = changes
        .iter()
        .filter_map(|change| if let Change::Write(bytes) = change { Some(&bytes[..]) } else { None })
        .collect::<Vec<_>>()
        .concat();
    let synced = changes.contains(&Change::SyncFile);
    let content = if synced { written } else { data.of(&written) };
    let mut bit = 0;
    for (number, change) in changes.iter().enumerate() {
        let folder = match change {
            Change::MakeFolder(path) | Change::Create(path) | Change::Remove(path) | Change::Rename(_, path) => parent(path),
            _ => continue,
        };
        let is_synced = changes[number..].iter().any(|later| matches!(later, Change::SyncFolder(path) if path == folder));
        let happened = is_synced || kept & (1 << bit) != 0;
        bit += u32::from(!is_synced);
        if !happened {
            continue;
        }
        match change {
            Change::MakeFolder(path) => drop(folders.insert(path.clone())),
            Change::Create(path) => drop(files.insert(path.clone(), content.clone())),
            Change::Remove(path) => drop(files.remove(path)),
            // The name moves with its file, even if the creation of its first name was
            // lost.
            Change::Rename(from, to) => {
                files.remove(from);
                files.insert(to.clone(), content.clone());
            }
            _ => {}
        }
    }
    // The files in a folder that was never made are lost with it.
    files.retain(|path, _| before.contains_key(path) || parent_is_there(parent(path), &folders, before));
    (files, folders)
}

fn parent_is_there(folder: &str, folders: &BTreeSet<String>, before: &BTreeMap<String, Vec<u8>>) -> bool {
    folder.is_empty()
        || before.keys().any(|path| path.starts_with(&format!("{folder}/")))
        || (folders.contains(folder) && parent_is_there(parent(folder), folders, before))
}

fn unsynced_names(changes: &[Change]) -> u32 {
    let is_unsynced = |(number, change): &(usize, &Change)| {
        let (Change::MakeFolder(path) | Change::Create(path) | Change::Remove(path) | Change::Rename(_, path)) = change else {
            return false;
        };
        !changes[*number..].iter().any(|later| matches!(later, Change::SyncFolder(folder) if folder == parent(path)))
    };
    u32::try_from(changes.iter().enumerate().filter(is_unsynced).count()).unwrap()
}

fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

fn write_all(root: &Path, files: &BTreeMap<String, Vec<u8>>, folders: &BTreeSet<String>) {
    for folder in folders {
        let _ = fs::create_dir_all(root.join(folder));
    }
    for (path, bytes) in files {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), bytes).unwrap();
    }
}

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

fn sha(bytes: &[u8]) -> [u8; 32] {
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
