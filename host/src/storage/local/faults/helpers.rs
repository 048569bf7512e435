//! Snapshots in a folder, and what is left there.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use persist_model::Precondition;

use crate::storage::local::{Durability, LocalFileStorage};
use crate::{Engine, ListEntry, MemoryStorage, PersistError, SnapshotOptions};

pub(crate) const KEY: &str = "agents/one/x.json.gz";
pub(crate) const OTHER: &str = "agents/one/y.json.gz";

/// Incompressible bytes, so that a save needs several writes.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
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
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: std::sync::LazyLock<Engine> =
        std::sync::LazyLock::new(|| Engine::builder().storage(MemoryStorage::new()).build().expect("an engine"));
    &ENGINE
}

pub(crate) fn on(storage: LocalFileStorage) -> Engine {
    engine().with_storage(Arc::new(storage))
}

/// Returns an engine without faults that does not wait for the disk.
pub(crate) fn plain(root: &Path) -> Engine {
    on(LocalFileStorage::new(root).durability(Durability::None))
}

pub(crate) fn save(engine: &Engine, key: &str, state: &[u8], precondition: Precondition) -> Result<(), PersistError> {
    let options = SnapshotOptions::default().precondition(precondition);
    engine.snapshot(key, state, &options).map(drop)
}

/// Returns the names of all unfinished files below the root.
pub(crate) fn debris(root: &Path) -> Vec<String> {
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

pub(crate) fn listed(engine: &Engine) -> Vec<String> {
    let entries = engine.list("").collect::<Result<Vec<_>, _>>().expect("it is listed");
    entries
        .into_iter()
        .map(|entry| match entry {
            ListEntry::Snapshot(metadata) => metadata.key,
            ListEntry::Unreadable { key, error } => panic!("{key}: {error}"),
        })
        .collect()
}
