//! Listing files as keys, in the order of the keys' bytes.

use std::io;

use cap_std::fs::Dir;

use super::disk::{Disk, Operation};
use super::{LocalFileStorage, object_info};
use crate::error::Result;
use crate::key::Wanted;
use crate::storage::{LevelEntry, ObjectInfo, StorageAdapter};

struct Listing<'a> {
    disk: &'a Disk,
    wanted: Wanted<'a>,
    limit: usize,
    /// Whether folders behind the prefix are entries themselves.
    one_level: bool,
    found: Vec<LevelEntry>,
}

/// The files whose keys begin with `prefix`. Folders behind symlinks are left
/// out: they may lead in a circle, and give a file two keys.
pub(super) fn list(storage: &LocalFileStorage, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
    let found = entries(storage, Wanted { prefix, start_after }, limit, false)?;
    let object = |entry| match entry {
        LevelEntry::Object(info) => Some(info),
        LevelEntry::Prefix(_) => None,
    };
    Ok(found.into_iter().filter_map(object).collect())
}

/// The files and folders behind `prefix`, without what is in the folders. One
/// that holds no object, however deep, is not there.
pub(super) fn level(storage: &LocalFileStorage, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<LevelEntry>> {
    entries(storage, Wanted { prefix, start_after }, limit, true)
}

fn entries(storage: &LocalFileStorage, wanted: Wanted<'_>, limit: u32, one_level: bool) -> Result<Vec<LevelEntry>> {
    let root = match storage.open_root() {
        Ok(root) => root,
        // The first write makes it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(storage.failed("", "list", &error)),
    };
    let mut listing = Listing { disk: &storage.disk, wanted, limit: limit as usize, one_level, found: Vec::new() };
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
            let is_wanted = match is_folder {
                true if self.is_entry(&key) => self.wanted.start_after.is_none_or(|after| key.as_str() > after),
                true => self.wanted.may_be_below(&key),
                false => self.wanted.has(&key),
            };
            if is_wanted {
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
                    Ok(inner) if self.is_entry(&key) => {
                        if self.has_objects(&inner, &key)? {
                            self.found.push(LevelEntry::Prefix(key));
                        }
                    }
                    Ok(inner) => self.folder(&inner, &key)?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err((key, error)),
                }
            } else {
                // Gone since, a dangling link, or a link out of the folder.
                let Ok(metadata) = folder.metadata(&name) else { continue };
                if metadata.is_file() {
                    self.found.push(LevelEntry::Object(object_info(&key, &metadata)));
                }
            }
        }
        Ok(())
    }

    /// Whether a folder is an entry of the level, and not on the way to it.
    fn is_entry(&self, path: &str) -> bool {
        self.one_level && path.len() > self.wanted.prefix.len() && path.starts_with(self.wanted.prefix)
    }

    /// Whether a folder has an object in it, or below it.
    fn has_objects(&self, folder: &Dir, path: &str) -> std::result::Result<bool, (String, io::Error)> {
        let wanted = Wanted { prefix: path, start_after: None };
        let mut inside = Listing { disk: self.disk, wanted, limit: 1, one_level: false, found: Vec::new() };
        inside.folder(folder, path)?;
        Ok(!inside.found.is_empty())
    }
}
