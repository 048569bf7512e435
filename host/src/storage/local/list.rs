//! Listing files as keys, in the order of the keys' bytes.

use std::io;

use cap_std::fs::Dir;

use super::disk::{Disk, Operation};
use super::{LocalFileStorage, object_info};
use crate::error::Result;
use crate::key::Wanted;
use crate::storage::{ObjectInfo, StorageAdapter};

struct Listing<'a> {
    disk: &'a Disk,
    wanted: Wanted<'a>,
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
    let mut listing = Listing { disk: &storage.disk, wanted: Wanted { prefix, start_after }, limit: limit as usize, found: Vec::new() };
    listing.folder(&root, "").map_err(|(at, error)| super::local_error("list", &error).at(storage.locate(&at)))?;
    Ok(listing.found)
}

impl Listing<'_> {
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
            if if is_folder { self.wanted.may_be_below(&key) } else { self.wanted.has(&key) } {
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
