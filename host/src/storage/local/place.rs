//! The root folder of the files, and what is known of a file.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, OpenOptions, OpenOptionsExt as _};
use persist_model::{PersistError, Result};
use rustix::fs::OFlags;

use crate::storage::boot_time::since_boot;
use crate::storage::local::disk::{Disk, Operation};
use crate::storage::local::error::{local_error, not_a_file};
use crate::storage::{ObjectInfo, StorageAdapter};

/// Whether a committed object survives a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The file and its folder are synced before a commit is acknowledged.
    #[default]
    Fsync,
    /// Nothing is synced, which is faster. A power cut may undo the commit or leave an
    /// empty object. A crash of the process alone loses nothing.
    None,
}

/// Stores objects as files below a root folder, which the first write creates.
///
/// The etag is made of inode, size and change time (ctime). It lets a reader notice
/// that a file was replaced. No file system can atomically replace a file on the
/// condition that it is unchanged, so `IfMatch` on writes and deletes is `Unsupported`.
#[derive(Clone, Debug)]
pub struct LocalFileStorage {
    pub(super) root: PathBuf,
    pub(super) durability: Durability,
    pub(super) disk: Disk,
}

impl LocalFileStorage {
    /// Returns a storage of files below `root`. An empty path is the current folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), durability: Durability::default(), disk: Disk::default() }
    }

    /// Sets the durability.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    pub(super) fn root(&self) -> &Path {
        if self.root.as_os_str().is_empty() { Path::new(".") } else { &self.root }
    }

    pub(super) fn open_root(&self) -> io::Result<Dir> {
        self.disk.before(&Operation::OpenRoot)?;
        Dir::open_ambient_dir(self.root(), ambient_authority())
    }

    pub(super) fn failed(&self, key: &str, doing: &str, error: &io::Error) -> PersistError {
        local_error(doing, error).at(self.locate(key))
    }

    pub(super) fn open_file(&self, key: &str) -> Result<(File, Metadata)> {
        let opened = self.open_root().and_then(|root| {
            let mut options = OpenOptions::new();
            // Opening a pipe must not wait for its other end.
            options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
            self.disk.before(&Operation::OpenFile(key))?;
            let file = root.open_with(key, &options)?;
            let metadata = file.metadata()?;
            Ok((file, metadata))
        });
        let (file, metadata) = opened.map_err(|error| self.failed(key, "open the file", &error))?;
        if !metadata.is_file() {
            return Err(not_a_file(&metadata).at(self.locate(key)));
        }
        Ok((file, metadata))
    }
}

/// Returns what is known of a file. Its etag changes with every replacement, since each
/// write makes a new file.
pub(super) fn object_info(key: &str, metadata: &Metadata) -> ObjectInfo {
    use cap_std::fs::MetadataExt as _;
    let modified = metadata.modified().ok().and_then(|time| time.into_std().duration_since(UNIX_EPOCH).ok());
    let nanos = metadata.ctime_nsec();
    ObjectInfo {
        key: key.to_owned(),
        size: metadata.len(),
        etag: Some(format!("{:x}-{:x}-{:x}.{nanos:x}", metadata.ino(), metadata.len(), metadata.ctime())),
        modified: modified.and_then(|since| u64::try_from(since.as_millis()).ok()),
        storage_time: since_boot(),
        ..ObjectInfo::default()
    }
}
