//! Writes a file so that it appears complete and durable, or not at all.
//!
//! A temporary file in the same folder is locked, written and synced. It is then
//! renamed to its final name, and the folder is synced. Only then is the write
//! acknowledged.
//!
//! The lock is kept until the rename. Closing the file first would release it, and a
//! sweep could take the file for an abandoned one. A file whose name says that it is
//! locked is abandoned once its lock can be taken, and never before, however old it is:
//! a suspended machine or a changed clock does not end its writer.

use std::io::{self, Seek, SeekFrom, Write};

use cap_std::fs::{Dir, Metadata, MetadataExt as _};
use persist_model::files::{ALREADY_EXISTS, WRITTEN};
use persist_model::{ErrorCode, Permissions, PersistError, Precondition, Result};
use persist_paths::key::split;
use rustix::fs::{AtFlags, Gid, Mode, RenameFlags};
use rustix::io::Errno;

use crate::storage::boot_time::since_boot;
use crate::storage::local::disk::Operation;
use crate::storage::local::error::{local_error, not_a_file};
use crate::storage::local::folder::{create_temporary, not_durable, open_or_make_folder, sweep, sync_folder, sync_handle};
use crate::storage::local::place::{Durability, LocalFileStorage, object_info};
use crate::storage::{ByteRange, ObjectInfo, ReadOptions, StorageAdapter, StorageWriter, WriteOptions, copy_through};

/// How many times a folder is made again if it is removed before the file in it is
/// created.
const MAKING_FOLDERS: u32 = 100;

/// The size of a run of zeros that becomes a hole: more than any file system allocates
/// at a time.
const HOLE: usize = 64 << 10;

static ZEROS: [u8; HOLE] = [0; HOLE];

pub(super) struct LocalWriter {
    storage: LocalFileStorage,
    key: String,
    precondition: Precondition,
    folder: Dir,
    temporary: String,
    file: std::fs::File,
    /// The final permissions; none if the file keeps the ones it was created with.
    permissions: Option<Permissions>,
    written: u64,
    /// Whether runs of zeros become holes.
    leaves_holes: bool,
    sync: Option<std::fs::File>,
    /// Whether the temporary file is still to be removed.
    unfinished: bool,
}

impl LocalWriter {
    pub(super) fn open(storage: &LocalFileStorage, key: &str, options: WriteOptions) -> Result<Self> {
        let failed = |error: &io::Error| {
            let error = match Errno::from_io_error(error) {
                // For a read, this means a missing file; for a write, that a parent is
                // a file.
                Some(Errno::NOTDIR | Errno::EXIST) => {
                    PersistError::new(ErrorCode::InvalidKey, "a parent of the path is a file, not a folder")
                }
                _ => local_error("create the file", error),
            };
            error.at(storage.locate(key))
        };
        let (path, name) = split(key);
        // A delete of the last file in the folder may remove the folder at any time.
        let mut attempts = 0..MAKING_FOLDERS;
        loop {
            let opened = Self::open_in(storage, key, (path, name), options.clone(), &failed);
            match opened {
                Err(error) if error.code() == ErrorCode::NotFound && attempts.next().is_some() => {}
                opened => return opened,
            }
        }
    }

    fn open_in(
        storage: &LocalFileStorage,
        key: &str,
        (path, name): (&str, &str),
        options: WriteOptions,
        failed: &dyn Fn(&io::Error) -> PersistError,
    ) -> Result<Self> {
        let WriteOptions { precondition, permissions, leaves_holes, .. } = options;
        let folder = open_or_make_folder(storage, path).map_err(|error| failed(&error))?;
        let existing = folder.symlink_metadata(name);
        match &existing {
            Ok(existing) if !existing.is_file() && !existing.is_symlink() => return Err(not_a_file(existing).at(storage.locate(key))),
            Ok(_) if precondition == Precondition::IfAbsent => return Err(already_exists().at(storage.locate(key))),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let sync = sync_handle(storage, &folder).map_err(|error| failed(&error))?;
        sweep(storage, &folder, path);
        let earlier = existing.ok().filter(Metadata::is_file);
        let (permissions, mode) = to_become(permissions, earlier.as_ref());
        let (temporary, file) = create_temporary(storage, &folder, path, mode).map_err(|error| failed(&error))?;
        let (storage, key) = (storage.clone(), key.to_owned());
        Ok(Self { storage, key, precondition, folder, temporary, file, permissions, written: 0, leaves_holes, sync, unfinished: true })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.storage.disk.file(&mut self.file).write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Appends bytes, but skips whole blocks of zeros.
    fn append_around_holes(&mut self, bytes: &[u8]) -> io::Result<()> {
        // The distance to the next block boundary of the file.
        let edge = usize::try_from(self.written.next_multiple_of(HOLE as u64) - self.written).unwrap_or(usize::MAX);
        let (before, blocks) = bytes.split_at(edge.min(bytes.len()));
        self.append(before)?;
        let mut rest = blocks;
        while !rest.is_empty() {
            let is_hole = rest.get(..HOLE) == Some(&ZEROS);
            let same = |block: &[u8]| (block == ZEROS) == is_hole;
            let length = rest.chunks(HOLE).take_while(|block| same(block)).map(<[u8]>::len).sum();
            let (run, after) = rest.split_at(length);
            if is_hole {
                self.file.seek(SeekFrom::Current(i64::try_from(length).unwrap_or(i64::MAX)))?;
                self.written += length as u64;
            } else {
                self.append(run)?;
            }
            rest = after;
        }
        Ok(())
    }

    fn publish(&mut self) -> io::Result<()> {
        if self.leaves_holes {
            // The file may end with a hole.
            self.file.set_len(self.written)?;
        }
        if let Some(permissions) = self.permissions
            && let Err(error) = give(&self.file, permissions)
        {
            // The file stays as private as it was created.
            tracing::debug!(%error, "the permissions of the file could not be set");
        }
        if self.storage.durability == Durability::Fsync {
            // Never retried: after a failed sync, the system may have dropped the data
            // and would then report success.
            self.storage.disk.before(&Operation::SyncFile)?;
            self.file.sync_all()?;
        }
        let (path, name) = split(&self.key);
        self.storage.disk.before(&Operation::Rename(path, &self.temporary, name))?;
        match self.precondition {
            Precondition::IfAbsent => rename_if_absent(&self.folder, &self.temporary, name)?,
            _ => self.folder.rename(&self.temporary, &self.folder, name)?,
        }
        self.unfinished = false;
        Ok(())
    }
}

/// Returns the final permissions, or none if the file keeps those it is created with,
/// and the mode to create it with.
fn to_become(permissions: Option<Permissions>, earlier: Option<&Metadata>) -> (Option<Permissions>, u32) {
    // By default, the umask decides, as for any file that the user makes.
    let by_umask = 0o666;
    match (permissions, earlier) {
        // Only its owner may use the file until it is complete.
        (Some(given), _) => (Some(given), 0o600),
        // The user chose the permissions of the earlier file. Users that could not read
        // it must not be able to read this one either.
        (None, Some(earlier)) if earlier.uid() == rustix::process::geteuid().as_raw() => {
            (Some(Permissions::new(earlier.mode(), Some(earlier.gid()))), 0o600)
        }
        // Another user chose them. They may make the new file less accessible, but
        // never more.
        (None, Some(earlier)) => (None, earlier.mode() & by_umask),
        (None, None) => (None, by_umask),
    }
}

/// Sets the group of a file, and then its bits. In the other order, another group would
/// briefly have the permissions that are meant for this one.
fn give(file: &std::fs::File, permissions: Permissions) -> rustix::io::Result<()> {
    let mut bits = permissions.bits;
    if let Some(group) = permissions.group
        && rustix::fs::fstat(file)?.st_gid != group
        && let Err(error) = change_group(file, group)
    {
        tracing::debug!(%error, group, "the file can't be given to the group, so the group's permissions are left out");
        bits = permissions.without_group();
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode((bits & Permissions::MASK) as _))
}

fn change_group(file: &std::fs::File, group: u32) -> rustix::io::Result<()> {
    // The system call takes this number as a request to keep the group.
    if group == u32::MAX {
        return Err(Errno::INVAL);
    }
    rustix::fs::fchown(file, None, Some(Gid::from_raw(group)))
}

fn already_exists() -> PersistError {
    let code = ErrorCode::AlreadyExists;
    PersistError::new(code, ALREADY_EXISTS).hint(code.file_advice().unwrap_or_default())
}

fn rename_if_absent(folder: &Dir, from: &str, to: &str) -> io::Result<()> {
    match rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Not supported by this file system. A link also fails if the name is taken.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::linkat(folder, from, folder, to, AtFlags::empty())?;
            // The object is there. A leftover temporary name is removed by a later
            // sweep.
            if let Err(error) = rustix::fs::unlinkat(folder, from, AtFlags::empty()) {
                tracing::warn!(file = from, %error, "the temporary name of a finished file is left to the next sweep");
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

impl StorageWriter for LocalWriter {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        let written = if self.leaves_holes { self.append_around_holes(chunk) } else { self.append(chunk) };
        written.map_err(|error| local_error("write the file", &error).at(self.storage.locate(&self.key)))
    }

    fn copy_range(&mut self, source: &str, offset: u64, length: u64, if_match: Option<&str>) -> Result<()> {
        let options = ReadOptions { range: ByteRange::Span { offset, length }, if_match: if_match.map(str::to_owned) };
        let mut reader = self.storage.open_read(source, options)?;
        copy_through(self, &mut *reader, length).map_err(|error| error.at(self.storage.locate(source)))
    }

    fn commit(mut self: Box<Self>) -> Result<ObjectInfo> {
        self.publish().map_err(|error| {
            let lost_race = self.precondition == Precondition::IfAbsent && error.kind() == io::ErrorKind::AlreadyExists;
            let error = if lost_race { already_exists() } else { local_error("store the file", &error) };
            error.at(self.storage.locate(&self.key))
        })?;
        // From here on, the object is there, whatever happens.
        let (path, _) = split(&self.key);
        let synced = sync_folder(&self.storage, self.sync.as_ref(), path);
        synced.map_err(|error| not_durable(WRITTEN, &error).at(self.storage.locate(&self.key)))?;
        let announced = self.storage.disk.before(&Operation::Stat(&self.key));
        let metadata = announced.and_then(|()| cap_std::fs::File::from_std(self.file.try_clone()?).metadata());
        Ok(match metadata {
            Ok(metadata) => object_info(&self.key, &metadata),
            Err(error) => {
                tracing::debug!(%error, "the written file can't be inspected");
                ObjectInfo { key: self.key.clone(), size: self.written, storage_time: since_boot(), ..ObjectInfo::default() }
            }
        })
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        if !self.unfinished {
            return;
        }
        let announced = self.storage.disk.before(&Operation::Remove(split(&self.key).0, &self.temporary));
        if let Err(error) = announced.and_then(|()| self.folder.remove_file(&self.temporary)) {
            tracing::warn!(file = self.temporary, %error, "an unfinished file is left to the next sweep");
        }
    }
}
