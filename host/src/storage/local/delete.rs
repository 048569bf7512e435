//! Deletes files, and the folders that become empty.

use std::collections::BTreeMap;
use std::io::{self};

use cap_std::fs::Dir;
use persist_model::files::DELETED;
use persist_model::{ErrorCode, PersistError, Result};
use persist_paths::key::{check_file_key, folders_within, split};

use crate::storage::local::disk::Operation;
use crate::storage::local::error::{local_error, not_a_file};
use crate::storage::local::folder::{not_durable, sync_folder, sync_handle};
use crate::storage::local::place::LocalFileStorage;
use crate::storage::{DeleteFailure, StorageAdapter};

/// A folder in which files are deleted.
struct Clearing<'a> {
    storage: &'a LocalFileStorage,
    folder: Dir,
    /// Its path below the root.
    path: &'a str,
    sync: Option<std::fs::File>,
}

impl<'a> Clearing<'a> {
    fn open(storage: &'a LocalFileStorage, root: &Dir, path: &'a str) -> io::Result<Self> {
        let folder = if path.is_empty() { root.try_clone()? } else { root.open_dir(path)? };
        let sync = sync_handle(storage, &folder)?;
        Ok(Self { storage, folder, path, sync })
    }

    fn remove(&self, key: &str, name: &str) -> Result<()> {
        let remove = || {
            self.storage.disk.before(&Operation::Stat(key))?;
            let existing = self.folder.symlink_metadata(name)?;
            if !existing.is_file() && !existing.is_symlink() {
                return Ok(Err(not_a_file(&existing).at(self.storage.locate(key))));
            }
            self.storage.disk.before(&Operation::Remove(self.path, name))?;
            self.folder.remove_file(name).map(Ok)
        };
        remove().map_err(|error| delete_failed(self.storage, key, &error))?
    }

    fn sync(&self, key: &str) -> Result<()> {
        let synced = sync_folder(self.storage, self.sync.as_ref(), self.path);
        synced.map_err(|error| not_durable(DELETED, &error).at(self.storage.locate(key)))
    }
}

fn delete_failed(storage: &LocalFileStorage, key: &str, error: &io::Error) -> PersistError {
    local_error("delete the file", error).at(storage.locate(key))
}

/// Deletes a file durably.
pub(super) fn delete(storage: &LocalFileStorage, key: &str) -> Result<()> {
    let (path, name) = split(key);
    let clearing = storage.open_root().and_then(|root| Clearing::open(storage, &root, path));
    let clearing = clearing.map_err(|error| delete_failed(storage, key, &error))?;
    clearing.remove(key, name)?;
    clearing.sync(key)
}

/// Deletes files. Missing ones are ignored. Each folder is synced once.
pub(super) fn delete_many(storage: &LocalFileStorage, keys: &[String]) -> Vec<DeleteFailure> {
    let mut failures = Vec::new();
    let mut fail = |key: &String, error: PersistError| {
        if error.code() != ErrorCode::NotFound {
            failures.push(DeleteFailure { key: key.clone(), error });
        }
    };
    let mut folders: BTreeMap<&str, Vec<(&String, &str)>> = BTreeMap::new();
    for key in keys {
        match check_file_key(key) {
            Ok(()) => {
                let (path, name) = split(key);
                folders.entry(path).or_default().push((key, name));
            }
            Err(error) => fail(key, error.at(storage.locate(key))),
        }
    }
    for (path, files) in folders {
        match storage.open_root().and_then(|root| Clearing::open(storage, &root, path)) {
            Err(error) => files.iter().for_each(|(key, _)| fail(key, delete_failed(storage, key, &error))),
            Ok(clearing) => {
                let mut removed = Vec::new();
                for (key, name) in files {
                    match clearing.remove(key, name) {
                        Ok(()) => removed.push(key),
                        Err(error) => fail(key, error),
                    }
                }
                let unsynced = removed.first().and_then(|first| clearing.sync(first).err());
                if let Some(error) = unsynced {
                    removed.iter().for_each(|key| fail(key, error.clone().at(storage.locate(key))));
                }
            }
        }
    }
    failures
}

/// Removes the empty folders of these keys below `folder`, which ends with `/`, or is
/// empty for the root.
pub(super) fn remove_empty_folders(storage: &LocalFileStorage, folder: &str, keys: &[String]) {
    let Ok(root) = storage.open_root() else { return };
    // Removing a folder fails if it is not empty.
    for path in folders_within(folder, keys) {
        let (above, name) = split(path);
        if storage.disk.before(&Operation::Remove(above, name)).is_ok() {
            let _ = root.remove_dir(path);
        }
    }
}
