//! Which key of the storage a path is.

use std::path::{Component, Path, PathBuf};

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

impl Folder {
    /// The folder that the storage takes: `PERSIST_LOCAL_PATH`, else the first that
    /// the host gives.
    pub(crate) fn new(base: Option<&Path>) -> Self {
        let first = || get_directories().into_iter().next().map(|(_, name)| PathBuf::from(name));
        Self(plain(&base.map(Path::to_owned).or_else(first).unwrap_or_default()))
    }

    /// The key of a file.
    pub(crate) fn key(&self, path: &Path) -> Result<String> {
        let path = plain(path);
        // To a host that gives everything, the current folder is that.
        let is_all = self.0 == Path::new("/");
        let below = path.strip_prefix(&self.0).ok().or((is_all && path.is_relative()).then_some(path.as_path()));
        let below = below.filter(|below| below.is_relative() && !below.starts_with(".."));
        below.and_then(Path::to_str).map(str::to_owned).ok_or_else(|| {
            PersistError::new(ErrorCode::InvalidKey, "the path is not in the folder that the host gives first")
                .at(path.display())
                .hint("give that folder, as with 'wasmtime run --dir FOLDER'")
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
