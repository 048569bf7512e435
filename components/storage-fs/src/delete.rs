//! Deletes one or many files, durably.

use std::collections::BTreeMap;

use persist_model::files::DELETED;
use wasip2::filesystem::types::{Descriptor, DescriptorType, ErrorCode as Os, PathFlags};

use crate::bindings::wit::{DeleteFailure, Error, ErrorCode};
use crate::failure::{error, failed, not_a_file, not_durable};
use crate::{MAX_BATCH, files, key, list};

/// Removes a file from its folder, without a sync.
fn remove(folder: &Descriptor, name: &str) -> Result<(), Error> {
    let failed = |os| failed("delete", os);
    let stat = folder.stat_at(PathFlags::empty(), name).map_err(failed)?;
    if !matches!(stat.type_, DescriptorType::RegularFile | DescriptorType::SymbolicLink) {
        return Err(not_a_file(stat.type_));
    }
    list::forget();
    folder.unlink_file_at(name).map_err(failed)
}

pub(crate) fn delete(root: &Descriptor, key: &str) -> Result<(), Error> {
    let (path, name) = key::split(key);
    let folder = files::open_folder(root, path).map_err(|os| failed("delete", os))?;
    remove(&folder, name)?;
    files::sync_folder(&folder).map_err(|os| not_durable(DELETED, os))
}

/// Deletes files folder by folder, so that each folder is synced once. Returns those that
/// could not be deleted.
pub(crate) fn delete_many(keys: &[String]) -> Result<Vec<DeleteFailure>, Error> {
    if keys.len() > MAX_BATCH {
        return Err(error(ErrorCode::LimitExceeded, format!("one call deletes at most {MAX_BATCH} files, not {}", keys.len())));
    }
    let mut failures = Vec::new();
    let mut fail = |key: &str, error: Error| failures.push(DeleteFailure { key: key.to_owned(), error: error.at(key) });
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for key in keys {
        match key::check(key) {
            Ok(()) => folders.entry(key::split(key).0).or_default().push(key),
            Err(error) => fail(key, error),
        }
    }
    let root = match files::root() {
        Ok(root) => root,
        // The root does not exist before the first write.
        Err(error) if error.code == ErrorCode::NotFound => return Ok(failures),
        Err(error) => return Err(error),
    };
    for (path, keys) in folders {
        let folder = match files::open_folder(&root, path) {
            Ok(folder) => folder,
            Err(Os::NoEntry | Os::NotDirectory) => continue,
            Err(os) => {
                keys.into_iter().for_each(|key| fail(key, failed("delete", os)));
                continue;
            }
        };
        let mut removed = Vec::new();
        for key in keys {
            match remove(&folder, key::split(key).1) {
                Ok(()) => removed.push(key),
                Err(error) if error.code == ErrorCode::NotFound => {}
                Err(error) => fail(key, error),
            }
        }
        if !removed.is_empty()
            && let Err(os) = files::sync_folder(&folder)
        {
            removed.into_iter().for_each(|key| fail(key, not_durable(DELETED, os)));
        }
    }
    Ok(failures)
}
