//! What a disk may contain after a crash, from the operations before it.

use crate::storage::local::disk::{Operation, Probe};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;

/// An operation that changes the disk. Paths are relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
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
pub(crate) struct Recorder(pub(crate) Mutex<Vec<Change>>);

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

pub(crate) fn parent(path: &str) -> &str {
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
pub(crate) enum Data {
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

pub(crate) const DATA: [Data; 11] = [
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

/// Returns the content of each created file, in order.
fn contents(changes: &[Change], data: Data) -> Vec<Vec<u8>> {
    let mut files: Vec<(Vec<u8>, bool)> = Vec::new();
    for change in changes {
        match (change, files.last_mut()) {
            (Change::Create(_), _) => files.push((Vec::new(), false)),
            (Change::Write(bytes), Some((written, _))) => written.extend_from_slice(bytes),
            (Change::SyncFile, Some((_, is_synced))) => *is_synced = true,
            _ => {}
        }
    }
    files.into_iter().map(|(written, is_synced)| if is_synced { written } else { data.of(&written) }).collect()
}

/// Returns the files, by path, and the folders after a crash. Changes of names that no
/// later sync of their folder covers happened or not, as the bits of `kept` say. `data`
/// is what happened to unsynced data.
pub(crate) fn after_crash(
    before: &BTreeMap<String, Vec<u8>>,
    changes: &[Change],
    kept: u32,
    data: Data,
) -> (BTreeMap<String, Vec<u8>>, BTreeSet<String>) {
    let (mut files, mut folders) = (before.clone(), BTreeSet::new());
    let contents = contents(changes, data);
    // The number of the file that each name has had last, whether or not it is on the disk.
    let (mut created, mut numbers) = (0, BTreeMap::new());
    let mut bit = 0;
    for (number, change) in changes.iter().enumerate() {
        let folder = match change {
            Change::MakeFolder(path) | Change::Create(path) | Change::Remove(path) | Change::Rename(_, path) => parent(path),
            _ => continue,
        };
        let is_synced = changes[number..].iter().any(|later| matches!(later, Change::SyncFolder(path) if path == folder));
        let happened = is_synced || kept & (1 << bit) != 0;
        bit += u32::from(!is_synced);
        match change {
            Change::Create(path) => {
                numbers.insert(path.clone(), created);
                created += 1;
            }
            Change::Rename(from, to) => {
                let moved = numbers.remove(from).expect("only what was created is renamed");
                numbers.insert(to.clone(), moved);
            }
            _ => {}
        }
        let content = |path: &String| contents[numbers[path]].clone();
        if !happened {
            continue;
        }
        match change {
            Change::MakeFolder(path) => drop(folders.insert(path.clone())),
            Change::Create(path) => drop(files.insert(path.clone(), content(path))),
            Change::Remove(path) => drop(files.remove(path)),
            // The name moves with its file, even if the creation of its first name was
            // lost.
            Change::Rename(from, to) => {
                files.remove(from);
                files.insert(to.clone(), content(to));
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

pub(crate) fn unsynced_names(changes: &[Change]) -> u32 {
    let is_unsynced = |(number, change): &(usize, &Change)| {
        let (Change::MakeFolder(path) | Change::Create(path) | Change::Remove(path) | Change::Rename(_, path)) = change else {
            return false;
        };
        !changes[*number..].iter().any(|later| matches!(later, Change::SyncFolder(folder) if folder == parent(path)))
    };
    u32::try_from(changes.iter().enumerate().filter(is_unsynced).count()).unwrap()
}

pub(crate) fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
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

pub(crate) fn write_all(root: &Path, files: &BTreeMap<String, Vec<u8>>, folders: &BTreeSet<String>) {
    for folder in folders {
        let _ = fs::create_dir_all(root.join(folder));
    }
    for (path, bytes) in files {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), bytes).unwrap();
    }
}
