//! Which key of the storage a path is.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use persist_model::error::PATH_ADVICE;
use persist_model::location::folder_prefix;
use persist_model::{ErrorCode, PersistError, Result};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::PathFlags;

/// The folder that the storage's keys are in, as paths name it.
pub(crate) struct Folder(PathBuf);

/// A path without `.` and `..`, as far as its text says.
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

/// How many links a path may lead over, as on Linux.
const MAX_LINKS: u32 = 40;

/// The same where `..` follows a symlink: it leads to the folder above that of the
/// link's target. What is not there is taken by its text.
fn resolved(path: &Path) -> Result<PathBuf> {
    let parts = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<OsString>>();
    let (mut left, mut resolved, mut links) = (parts(path), PathBuf::new(), 0);
    while let Some(part) = left.pop() {
        let is_link = part == ".." && fs::symlink_metadata(&resolved).is_ok_and(|metadata| metadata.is_symlink());
        if !is_link {
            resolved = plain(&resolved.join(part));
            continue;
        }
        links += 1;
        let target = fs::read_link(&resolved).ok().filter(|_| links <= MAX_LINKS).ok_or_else(|| {
            PersistError::new(
                ErrorCode::InvalidKey,
                "the path can't be used: could not open the file (a symlink in it can't be followed here)",
            )
            .at(path.display())
            .hint(PATH_ADVICE)
        })?;
        resolved.pop();
        left.push(part);
        left.extend(parts(&target));
    }
    Ok(resolved)
}

/// Whether a path is in a folder that the host gives.
pub(crate) fn is_given(path: &Path) -> bool {
    get_directories().iter().any(|(_, name)| Folder(plain(Path::new(name))).key(path).is_ok())
}

/// What to do where it is not.
pub(crate) const GIVE: &str = "give its folder, as with 'wasmtime run --dir FOLDER'";

impl Folder {
    /// The folder that the storage takes: `PERSIST_LOCAL_PATH`, else the first that
    /// the host gives.
    pub(crate) fn new(base: Option<&Path>) -> Self {
        let first = || get_directories().into_iter().next().map(|(_, name)| PathBuf::from(name));
        Self(plain(&base.map(Path::to_owned).or_else(first).unwrap_or_default()))
    }

    /// The key of a file.
    pub(crate) fn key(&self, path: &Path) -> Result<String> {
        let path = resolved(path)?;
        // To a host that gives everything, the current folder is that.
        let is_all = self.0 == Path::new("/");
        let below = path.strip_prefix(&self.0).ok().or((is_all && path.is_relative()).then_some(path.as_path()));
        let below = below.filter(|below| below.is_relative() && !below.starts_with(".."));
        below.and_then(Path::to_str).map(str::to_owned).ok_or_else(|| {
            PersistError::new(ErrorCode::InvalidKey, "the path is not in the folder that the host gives first")
                .at(path.display())
                .hint(GIVE)
        })
    }

    /// What tells a file from every other, whatever it is called.
    pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
        get_directories().into_iter().find_map(|(folder, name)| {
            let key = Self(plain(Path::new(&name))).key(path).ok()?;
            let hash = folder.metadata_hash_at(PathFlags::SYMLINK_FOLLOW, &key).ok()?;
            Some((hash.upper, hash.lower))
        })
    }

    /// What the keys of the files in a folder begin with.
    pub(crate) fn prefix(&self, path: &Path) -> Result<String> {
        self.key(path).map(|key| folder_prefix(&key))
    }
}
