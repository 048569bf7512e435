//! Lists files as keys, in the byte order of the keys.
//!
//! Folders behind symlinks are left out, since they may form a cycle and give a file
//! two keys. A link that the prefix itself names was asked for and is followed.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use cap_std::fs::Dir;
use persist_model::files::not_a_file;
use persist_model::{ErrorCode, PersistError, Result};
use persist_paths::key::{Wanted, check_file_key};
use persist_paths::walk::{Folders, Found, Name, Room, Walk};
use rustix::io::Errno;

use crate::storage::local::disk::Operation;
use crate::storage::local::error::local_error;
use crate::storage::local::place::{LocalFileStorage, object_info};
use crate::storage::{self, LevelEntry, Listed, ObjectInfo, not_a_key};

/// The most bytes of names that a listing holds, for all folders that it is in: enough
/// for a million files in one folder. The remaining names of a larger folder are read
/// again.
const MAX_NAMES: usize = 64 << 20;

/// The fewest entries to hold at a time. Fewer are not worth it.
const MIN_NAMES: usize = 1000;

/// The files below a root.
#[derive(Debug)]
pub(super) struct Tree {
    storage: LocalFileStorage,
    root: Dir,
    /// Whether a name that is not UTF-8 is reported without its bytes.
    only_text: bool,
}

impl Folders for Tree {
    type Folder = Dir;
    type Error = io::Error;

    fn open(&mut self, path: &str) -> io::Result<Dir> {
        self.storage.disk.before(&Operation::OpenFolder(path))?;
        if path.is_empty() { self.root.try_clone() } else { self.root.open_dir(path.trim_end_matches('/')) }
    }

    fn read(&mut self, folder: &Dir, path: &str, each: &mut dyn FnMut(Name<'_>)) -> io::Result<()> {
        self.storage.disk.before(&Operation::List(path))?;
        for entry in folder.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            let is_folder = match entry.file_type() {
                Ok(file_type) if file_type.is_dir() => true,
                Ok(file_type) if file_type.is_file() || file_type.is_symlink() => false,
                // A device, pipe or socket.
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // Looking at the file returns the error.
                Err(_) => false,
            };
            match name.to_str() {
                None if self.only_text => each(Name::Unnamed),
                _ if is_folder => each(Name::Folder(name.as_bytes())),
                _ => each(Name::File(name.as_bytes())),
            }
        }
        Ok(())
    }

    /// Returns whether the folder is gone, or no longer a folder.
    fn is_gone(error: &io::Error) -> bool {
        matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR))
    }
}

/// Returns whether a link leads to nothing, or out of the root.
fn leads_nowhere(error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        Some(errno) => matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV),
        // cap-std's own error for a path that leads out of the root.
        None => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// A listing of a storage, with its position.
pub(super) struct Listing {
    tree: Tree,
    walk: Walk<Tree>,
}

impl Listing {
    /// Returns none if there is no root, since the first write makes it.
    fn start(storage: &LocalFileStorage, wanted: Wanted<'_>, one_level: bool, room: Room, only_text: bool) -> Result<Option<Self>> {
        let root = match storage.open_root() {
            Ok(root) => root,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(storage.failed("", "list the folder", &error)),
        };
        let mut tree = Tree { storage: storage.clone(), root, only_text };
        match Walk::start(&mut tree, wanted, one_level, room) {
            Ok(walk) => Ok(walk.map(|walk| Self { tree, walk })),
            // There is no such folder, so it contains nothing.
            Err((path, error))
                if !path.is_empty() && (Tree::is_gone(&error) || Errno::from_io_error(&error) == Some(Errno::NAMETOOLONG)) =>
            {
                Ok(None)
            }
            Err((path, error)) => Err(storage.failed(&path, "list the folder", &error)),
        }
    }

    /// Returns what is known of a file, or none if it is not a file or is gone.
    fn look(&self, path: &[u8]) -> Result<Option<ObjectInfo>, io::Error> {
        let Some((folder, folder_path)) = self.walk.folders().next_back() else { return Ok(None) };
        let name = OsStr::from_bytes(path.get(folder_path.len()..).unwrap_or_default());
        let key = String::from_utf8_lossy(path);
        let looked = self.tree.storage.disk.before(&Operation::Stat(&key)).and_then(|()| folder.metadata(name));
        match looked {
            Ok(metadata) => Ok(metadata.is_file().then(|| object_info(&key, &metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if leads_nowhere(&error) && folder.symlink_metadata(name).is_ok_and(|link| link.is_symlink()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the next entry of the walk.
    fn step(&mut self) -> Option<Step> {
        loop {
            return Some(match self.walk.next(&mut self.tree)? {
                Found::File(key) => match self.look(key.as_bytes()) {
                    Ok(None) => continue,
                    Ok(Some(info)) => Step::Object(info),
                    Err(error) => {
                        let error = self.tree.storage.failed(&key, "stat the file", &error);
                        Step::Unreadable(key, error)
                    }
                },
                Found::Folder(path) => Step::Folder(path),
                Found::NotAKey { path, problem } => {
                    if !path.ends_with(b"/") && self.look(&path).is_ok_and(|info| info.is_none()) {
                        continue;
                    }
                    let (key, error) = not_a_key(&path, problem, &self.tree.storage);
                    Step::Unreadable(key, error)
                }
                Found::Unreadable { path, error } => {
                    let error = self.tree.storage.failed(&path, "list the folder", &error);
                    Step::Unreadable(path, error)
                }
            });
        }
    }
}

enum Step {
    Object(ObjectInfo),
    Folder(String),
    Unreadable(String, PersistError),
}

/// Lists the files whose keys begin with `prefix`, and whatever can't be listed.
pub(super) fn walk(storage: &LocalFileStorage, prefix: &str, start_after: Option<&str>) -> storage::Listing {
    let wanted = Wanted { prefix, start_after };
    match Listing::start(storage, wanted, false, Room::of(MAX_NAMES), false) {
        Ok(None) => Box::new(std::iter::empty()),
        Err(error) => Box::new(std::iter::once(Err(error))),
        Ok(Some(mut listing)) => Box::new(std::iter::from_fn(move || {
            Some(Ok(match listing.step()? {
                Step::Object(info) => Listed::Object(info),
                Step::Folder(key) => Listed::Object(unknown(key)),
                Step::Unreadable(key, error) => Listed::Unreadable { key, error },
            }))
        })),
    }
}

/// Returns an entry for something that can't be read. Reading it returns the reason.
fn unknown(key: String) -> ObjectInfo {
    ObjectInfo { key, ..ObjectInfo::default() }
}

fn room(limit: usize) -> Room {
    Room::of(MAX_NAMES).first(limit.max(MIN_NAMES))
}

/// Lists the first files whose keys begin with `prefix`.
pub(super) fn list(storage: &LocalFileStorage, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
    let limit = limit as usize;
    let listing = Listing::start(storage, Wanted { prefix, start_after }, false, room(limit), true)?;
    let mut found = Vec::new();
    if let Some(mut listing) = listing {
        while found.len() < limit
            && let Some(step) = listing.step()
        {
            found.push(match step {
                Step::Object(info) => info,
                Step::Folder(key) | Step::Unreadable(key, _) => unknown(key),
            });
        }
    }
    Ok(found)
}

/// Lists the first files and folders after `prefix`, without the content of the
/// folders. A folder without any object, however deep, is left out.
pub(super) fn level(storage: &LocalFileStorage, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<LevelEntry>> {
    let limit = limit as usize;
    let listing = Listing::start(storage, Wanted { prefix, start_after }, true, room(limit), true)?;
    let mut found = Vec::new();
    if let Some(mut listing) = listing {
        while found.len() < limit
            && let Some(step) = listing.step()
        {
            match step {
                Step::Object(info) => found.push(LevelEntry::Object(info)),
                Step::Unreadable(key, _) => found.push(LevelEntry::Object(unknown(key))),
                Step::Folder(path) => {
                    // A folder that can't be read is not known to be empty.
                    if !list(storage, &path, None, 1).is_ok_and(|objects| objects.is_empty()) {
                        found.push(LevelEntry::Prefix(path));
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Returns why an entry whose key ends with `/` was listed.
pub(super) fn why_listed(storage: &LocalFileStorage, key: &str) -> PersistError {
    let path = key.trim_end_matches('/');
    let not_a_key = || match check_file_key(key) {
        Ok(()) => PersistError::new(ErrorCode::InvalidKey, not_a_file(true)),
        Err(error) => error,
    };
    if format!("{path}/") != key || path != "." && check_file_key(path).is_err() {
        return not_a_key();
    }
    let looked = storage.open_root().and_then(|root| {
        let mut tree = Tree { storage: storage.clone(), root, only_text: true };
        let folder = tree.open(key)?;
        let mut is_unnamed = false;
        tree.read(&folder, key, &mut |name| is_unnamed |= matches!(name, Name::Unnamed))?;
        Ok(is_unnamed)
    });
    match looked {
        Ok(true) => PersistError::new(ErrorCode::InvalidKey, "a name in this folder is not UTF-8, and can't be a key").hint("rename it"),
        Ok(false) => not_a_key(),
        Err(error) if Tree::is_gone(&error) => not_a_key(),
        Err(error) => local_error("list the folder", &error),
    }
}
