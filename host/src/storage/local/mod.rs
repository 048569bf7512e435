//! Objects as files below a root folder.
//!
//! Everything is opened beneath the root (openat2 where the system has it), so
//! that no key and no symlink leads out of it. `write.rs` holds the protocol
//! by which a file appears whole, and durable, or not at all.

mod disk;
#[cfg(test)]
mod faults;
mod list;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use rustix::io::Errno;

use self::disk::{Disk, Operation};

use super::boot_time::since_boot;
use super::{
    Capabilities, DeleteFailure, LevelEntry, Listing, MAX_READ, ObjectInfo, Precondition, ReadOptions, StorageAdapter, StorageReader,
    StorageWriter, WriteOptions, delete_if_absent,
};
use crate::error::{ErrorCode, PATH_ADVICE, PersistError, Result};
use crate::key::check_file_key;
use crate::permissions::Permissions;

/// Whether a committed object survives a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The file and its folder are synced before a commit is acknowledged.
    #[default]
    Fsync,
    /// Nothing is synced: faster, and a power cut may take the object back, or
    /// leave an empty one. A crash of the process alone loses nothing.
    None,
}

/// Objects as files below a root folder, which is created by the first write.
///
/// The etag is made of inode, size and time of change (ctime). It lets a reader notice
/// that a file was replaced; a file system has no atomic "replace if it is
/// still this one", so that `IfMatch` on writes and deletes is `Unsupported`.
#[derive(Clone, Debug)]
pub struct LocalFileStorage {
    root: PathBuf,
    durability: Durability,
    disk: Disk,
}

impl LocalFileStorage {
    /// Files below `root`; an empty path is the current folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), durability: Durability::default(), disk: Disk::default() }
    }

    /// The same storage with this durability.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    fn root(&self) -> &Path {
        if self.root.as_os_str().is_empty() { Path::new(".") } else { &self.root }
    }

    fn open_root(&self) -> io::Result<Dir> {
        self.disk.before(&Operation::OpenRoot)?;
        Dir::open_ambient_dir(self.root(), ambient_authority())
    }

    fn failed(&self, key: &str, doing: &str, error: &io::Error) -> PersistError {
        local_error(doing, error).at(self.locate(key))
    }

    fn open_file(&self, key: &str) -> Result<(File, Metadata)> {
        let opened = self.open_root().and_then(|root| {
            let mut options = OpenOptions::new();
            // A pipe must not make the open wait for its other end.
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

fn not_a_file(metadata: &Metadata) -> PersistError {
    let what = if metadata.is_dir() { "a folder" } else { "a device, pipe or socket" };
    PersistError::new(ErrorCode::InvalidKey, format!("this is {what}, not a file"))
}

/// What a failed file operation means; `doing` says what it was to do, and with
/// what.
fn local_error(doing: &str, error: &io::Error) -> PersistError {
    let errno = Errno::from_io_error(error);
    let code = match errno {
        Some(Errno::NOENT | Errno::NOTDIR) => ErrorCode::NotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => ErrorCode::AccessDenied,
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => ErrorCode::NoSpace,
        Some(Errno::ISDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::INVAL | Errno::ILSEQ | Errno::XDEV) => ErrorCode::InvalidKey,
        Some(Errno::TIMEDOUT) => ErrorCode::Timeout,
        // cap-std's own refusal of what leads out of the root.
        None if error.kind() == io::ErrorKind::PermissionDenied => ErrorCode::InvalidKey,
        _ => ErrorCode::Io,
    };
    let failed = format!("could not {doing} ({error})");
    let (message, hint) = match code {
        ErrorCode::NotFound => ("there is no such file".to_owned(), code.file_advice()),
        ErrorCode::AccessDenied => (format!("access denied: {failed}"), code.file_advice()),
        ErrorCode::NoSpace => (format!("no space is left: {failed}"), code.file_advice()),
        ErrorCode::InvalidKey => (format!("the path can't be used: {failed}"), Some(PATH_ADVICE)),
        _ => (failed, None),
    };
    let error = PersistError::new(code, message);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The facts of a file. The etag changes with every replacement, since each
/// write makes a new file.
fn object_info(key: &str, metadata: &Metadata) -> ObjectInfo {
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

impl StorageAdapter for LocalFileStorage {
    fn summary(&self) -> String {
        format!("files in {}", self.root().display())
    }

    fn locate(&self, key: &str) -> String {
        self.root.join(key).display().to_string()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { if_absent: true, copy_range: true, storage_time: true, ..Capabilities::default() }
    }

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>> {
        check_file_key(key)?;
        if let Precondition::IfMatch(_) = options.precondition {
            return Err(if_match_unsupported().at(self.locate(key)));
        }
        Ok(Box::new(write::LocalWriter::open(self, key, options)?))
    }

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>> {
        if key.ends_with('/') {
            return Err(list::why_listed(self, key).at(self.locate(key)));
        }
        check_file_key(key)?;
        let (mut file, metadata) = self.open_file(key)?;
        let info = object_info(key, &metadata);
        if options.if_match.is_some() && options.if_match != info.etag {
            return Err(PersistError::new(ErrorCode::PreconditionFailed, "the file was replaced meanwhile").at(self.locate(key)));
        }
        let (start, end) = options.range.within(info.size);
        file.seek(SeekFrom::Start(start)).map_err(|error| self.failed(key, "read the file", &error))?;
        Ok(Box::new(LocalReader { disk: self.disk.clone(), file, info, left: end.saturating_sub(start), location: self.locate(key) }))
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        check_file_key(key)?;
        let metadata = self
            .open_root()
            .and_then(|root| {
                self.disk.before(&Operation::Stat(key))?;
                root.metadata(key)
            })
            .map_err(|error| self.failed(key, "find the file", &error))?;
        if metadata.is_file() {
            return Ok(object_info(key, &metadata));
        }
        Err(PersistError::new(ErrorCode::NotFound, "there is no such file: this is a folder or a device").at(self.locate(key)))
    }

    fn delete_object(&self, key: &str, precondition: Precondition) -> Result<()> {
        check_file_key(key)?;
        match precondition {
            Precondition::None => {}
            Precondition::IfAbsent => {
                return Err(delete_if_absent().at(self.locate(key)));
            }
            Precondition::IfMatch(_) => return Err(if_match_unsupported().at(self.locate(key))),
        }
        write::delete(self, key)
    }

    fn delete_many(&self, keys: &[String]) -> Result<Vec<DeleteFailure>> {
        Ok(write::delete_many(self, keys))
    }

    fn remove_empty_folders(&self, folder: &str, keys: &[String]) {
        write::remove_empty_folders(self, folder, keys);
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        list::list(self, prefix, start_after, limit)
    }

    fn list_level(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<LevelEntry>> {
        list::level(self, prefix, start_after, limit)
    }

    fn walk(&self, prefix: &str, start_after: Option<&str>) -> Option<Listing> {
        Some(list::walk(self, prefix, start_after))
    }

    fn permissions(&self, key: &str) -> Option<Permissions> {
        use cap_std::fs::MetadataExt as _;
        check_file_key(key).ok()?;
        let metadata = self.open_root().and_then(|root| root.metadata(key)).ok()?;
        metadata.is_file().then(|| Permissions { bits: metadata.mode() & Permissions::MASK, group: Some(metadata.gid()) })
    }
}

fn if_match_unsupported() -> PersistError {
    PersistError::new(ErrorCode::Unsupported, "local files can't be replaced or deleted on the condition of an etag")
        .hint("use a storage that keeps this condition, such as S3")
}

struct LocalReader {
    disk: Disk,
    file: File,
    info: ObjectInfo,
    /// Bytes of the range that were not read yet.
    left: u64,
    location: String,
}

impl fmt::Debug for LocalReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalReader({})", self.location)
    }
}

impl StorageReader for LocalReader {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let want = u64::from(max.min(MAX_READ)).min(self.left);
        let mut chunk = Vec::with_capacity(usize::try_from(want).unwrap_or_default());
        let read = self.disk.file(&mut self.file).take(want).read_to_end(&mut chunk);
        read.map_err(|error| local_error("read the file", &error).at(&self.location))?;
        // A file that got shorter ends the range early; who reads notices.
        self.left = if chunk.is_empty() { 0 } else { self.left - chunk.len() as u64 };
        Ok(chunk)
    }
}
