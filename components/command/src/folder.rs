//! Maps paths to keys of the storage.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use persist_model::files::{MISSING, PATH_ADVICE};
use persist_model::{ErrorCode, PersistError, Result};
use persist_paths::folder_prefix;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::PathFlags;

/// The folder that the storage's keys are in, as it appears in paths.
pub(crate) struct Folder(PathBuf);

/// Removes `.` and `..` from a path, by its text alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// How many symlinks a path may contain, as on Linux.
const MAX_LINKS: u32 = 40;

/// What is done with the file at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It has to be there.
    Read,
    /// Folders that are missing are made.
    Write,
}

/// Removes `.` and `..` from a path as the system does: `..` after a symlink leads to the
/// folder above its target, and `..` after anything but a folder is an error.
fn resolved(path: &Path, usage: Use) -> Result<PathBuf> {
    let parts = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<OsString>>();
    let failed = |code, message: &str| PersistError::new(code, message).at(path.display());
    let (mut left, mut resolved, mut links) = (parts(path), PathBuf::new(), 0);
    while let Some(part) = left.pop() {
        let is_above_name = part == ".." && matches!(resolved.components().next_back(), Some(Component::Normal(_)));
        let before = is_above_name.then(|| fs::symlink_metadata(&resolved));
        match before {
            Some(Ok(before)) if before.is_symlink() => {
                links += 1;
                let target = fs::read_link(&resolved).ok().filter(|_| links <= MAX_LINKS).ok_or_else(|| {
                    let message = "the path can't be used: could not open the file (a symlink in it can't be followed here)";
                    failed(ErrorCode::InvalidKey, message).hint(PATH_ADVICE)
                })?;
                resolved.pop();
                left.push(part);
                left.extend(parts(&target));
                continue;
            }
            Some(Ok(before)) if !before.is_dir() && usage == Use::Write => {
                return Err(failed(ErrorCode::InvalidKey, "a parent of the path is a file, not a folder"));
            }
            Some(Ok(before)) if before.is_dir() => {}
            Some(_) if usage == Use::Read && is_given(&resolved) => {
                let code = ErrorCode::NotFound;
                return Err(failed(code, MISSING).hint(code.file_advice().unwrap_or_default()));
            }
            _ => {}
        }
        resolved = plain(&resolved.join(part));
    }
    Ok(resolved)
}

/// Whether a path is in a folder that the host grants access to.
pub(crate) fn is_given(path: &Path) -> bool {
    let path = resolved(path, Use::Write).unwrap_or_else(|_| plain(path));
    get_directories().iter().any(|(_, name)| Folder(plain(Path::new(name))).below(&path).is_some())
}

/// What to do about a path that is not in such a folder.
pub(crate) const GRANT: &str = "grant access to its folder, for example with 'wasmtime run --dir FOLDER'";

impl Folder {
    /// Returns the folder of the storage: `base`, which is `PERSIST_LOCAL_PATH`, or else the
    /// first folder that the host grants access to.
    pub(crate) fn new(base: Option<&Path>) -> Self {
        if let Some(base) = base {
            return Self(resolved(base, Use::Write).unwrap_or_else(|_| plain(base)));
        }
        let first = get_directories().into_iter().next().map(|(_, name)| PathBuf::from(name));
        Self(plain(&first.unwrap_or_default()))
    }

    /// Returns the rest of a resolved path after this folder, if it is in it.
    fn below(&self, path: &Path) -> Option<String> {
        // If the host grants access to everything, relative paths begin there.
        let is_all = self.0 == Path::new("/");
        let below = path.strip_prefix(&self.0).ok().or((is_all && path.is_relative()).then_some(path))?;
        let is_below = below.is_relative() && !below.starts_with("..");
        below.to_str().filter(|_| is_below).map(str::to_owned)
    }

    /// Returns the key of a file.
    pub(crate) fn key(&self, path: &Path, usage: Use) -> Result<String> {
        self.below(&resolved(path, usage)?).ok_or_else(|| {
            PersistError::new(ErrorCode::InvalidKey, "the path is not in the first folder that the host grants access to")
                .at(path.display())
                .hint(GRANT)
        })
    }

    /// Returns what identifies a file, whatever its names are.
    pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
        // The standard library also opens /x in the folder named '.'.
        let below_root = |path: &Path| path.strip_prefix("/").unwrap_or(path).to_owned();
        let path = below_root(path);
        get_directories().into_iter().find_map(|(folder, name)| {
            let key = Self(below_root(&plain(Path::new(&name)))).key(&path, Use::Read).ok()?;
            let hash = folder.metadata_hash_at(PathFlags::SYMLINK_FOLLOW, &key).ok()?;
            Some((hash.upper, hash.lower))
        })
    }

    /// Returns the prefix of the keys in a folder.
    pub(crate) fn prefix(&self, path: &Path, usage: Use) -> Result<String> {
        self.key(path, usage).map(|key| folder_prefix(&key))
    }
}
