//! Listing files as keys, in the order of the keys' bytes.

use std::io;

use cap_std::fs::Dir;

use super::disk::{Disk, Operation};
use super::{LocalFileStorage, check_local_key, object_info};
use crate::error::Result;
use crate::storage::{ObjectInfo, StorageAdapter};

struct Listing<'a> {
    disk: &'a Disk,
    prefix: &'a str,
    start_after: Option<&'a str>,
    limit: usize,
    found: Vec<ObjectInfo>,
}

/// The files whose keys begin with `prefix`. Folders behind symlinks are left
/// out: they may lead in a circle, and give a file two keys.
pub(super) fn list(storage: &LocalFileStorage, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
    let root = match storage.open_root() {
        Ok(root) => root,
        // The first write makes it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(storage.failed("", "list", &error)),
    };
    let mut listing = Listing { disk: &storage.disk, prefix, start_after, limit: limit as usize, found: Vec::new() };
    listing.folder(&root, "").map_err(|(at, error)| super::local_error("list", &error).at(storage.locate(&at)))?;
    Ok(listing.found)
}

impl Listing<'_> {
    /// Whether a key in the folder whose keys begin with `path` can be wanted.
    fn may_hold(&self, path: &str) -> bool {
        let in_prefix = path.starts_with(self.prefix) || self.prefix.starts_with(path);
        let not_before = self.start_after.is_none_or(|after| path > after || after.starts_with(path));
        in_prefix && not_before
    }

    fn wants(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && self.start_after.is_none_or(|after| key > after) && check_local_key(key).is_ok()
    }

    /// Lists a folder whose keys all begin with `path`. An error comes with
    /// the path it is about.
    fn folder(&mut self, folder: &Dir, path: &str) -> std::result::Result<(), (String, io::Error)> {
        let failed = |error| (path.to_owned(), error);
        let mut names = Vec::new();
        self.disk.before(&Operation::List(path)).map_err(failed)?;
        for entry in folder.entries().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is not UTF-8 is no key.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let file_type = entry.file_type().map_err(failed)?;
            // With its slash a folder sorts where its keys do.
            let is_folder = file_type.is_dir();
            let key = if is_folder { format!("{path}{name}/") } else { format!("{path}{name}") };
            let wanted = if is_folder { self.may_hold(&key) } else { self.wants(&key) };
            if wanted {
                names.push((key, name, is_folder));
            }
        }
        names.sort_unstable();
        for (key, name, is_folder) in names {
            if self.found.len() == self.limit {
                break;
            }
            if is_folder {
                match folder.open_dir(&name) {
                    Ok(inner) => self.folder(&inner, &key)?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err((key, error)),
                }
            } else {
                // Gone since, a dangling link, or a link out of the folder.
                let Ok(metadata) = folder.metadata(&name) else { continue };
                if metadata.is_file() {
                    self.found.push(object_info(&key, &metadata));
                }
            }
        }
        Ok(())
    }
}
