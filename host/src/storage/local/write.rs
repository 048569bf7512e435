//! How a file appears under its name: whole and durable, or not at all.
//!
//! A temporary file in the same folder is locked, written and synced, then
//! renamed to its name, then the folder is synced; only then is the write
//! acknowledged. The lock is kept until the rename: closing the file first
//! would give it up, and a sweep could take the file for debris. A file whose
//! name says that it is locked is debris once its lock can be taken, and never
//! before, however old it is: a suspended machine, or a clock that was set, does
//! not end its writer.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io::{self, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::disk::Operation;
use super::{Durability, LocalFileStorage, local_error, not_a_file, object_info};
use crate::error::{ErrorCode, PersistError, Result};
use crate::key::{
    check_file_key, folders_within, is_swept, is_temporary, is_unlocked_temporary, split, temporary_name, unlocked_temporary_name,
};
use crate::permissions::Permissions;
use crate::random::{random_hex, random_number};
use crate::storage::boot_time::since_boot;
use crate::storage::{
    ByteRange, DeleteFailure, ObjectInfo, Precondition, ReadOptions, StorageAdapter, StorageWriter, WriteOptions, copy_through,
};

/// After this long a temporary file is debris where locks don't work, as on some
/// network file systems.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// How many names are tried; a clash of two random ones never happens by chance.
const ATTEMPTS: u32 = 16;

/// A handle by which a folder is synced; none where nothing is synced. Opened
/// before a change, so that a folder that can't be synced is found out while
/// nothing has happened yet.
fn sync_handle(storage: &LocalFileStorage, folder: &Dir) -> io::Result<Option<std::fs::File>> {
    match storage.durability {
        // The folder's own handle may be one that can only be looked up from.
        Durability::Fsync => Ok(Some(folder.open(".")?.into_std())),
        Durability::None => Ok(None),
    }
}

/// Makes what was named in a folder last. `path` is that of the folder.
fn sync_folder(storage: &LocalFileStorage, handle: Option<&std::fs::File>, path: &str) -> io::Result<()> {
    let Some(handle) = handle else { return Ok(()) };
    storage.disk.before(&Operation::SyncFolder(path))?;
    handle.sync_all()
}

/// The last sync failed, after the change was made.
fn not_durable(change: &str, error: &io::Error) -> PersistError {
    let code = ErrorCode::NotDurable;
    let message = format!("{change}, but may not survive a power cut: the folder could not be synced ({error})");
    PersistError::new(code, message).hint(code.advice().unwrap_or_default())
}

/// Opens the folder that a key's file is in, making what is missing.
fn open_or_make_folder(storage: &LocalFileStorage, path: &str) -> io::Result<Dir> {
    make_root(storage)?;
    let root = storage.open_root()?;
    if path.is_empty() {
        return Ok(root);
    }
    storage.disk.before(&Operation::OpenFolder(path))?;
    match root.open_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    let mut parent = root.try_clone()?;
    for end in ends {
        let part = path.get(..end).unwrap_or(path);
        storage.disk.before(&Operation::MakeFolder(part))?;
        match root.create_dir(part) {
            Ok(()) => {}
            // Perhaps made by another writer a moment ago, and not synced yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        sync_folder(storage, sync_handle(storage, &parent)?.as_ref(), split(part).0)?;
        parent = root.open_dir(part)?;
    }
    Ok(parent)
}

/// Makes the root and what is missing above it, and syncs each new entry.
fn make_root(storage: &LocalFileStorage) -> io::Result<()> {
    let root = storage.root();
    if root.is_dir() {
        return Ok(());
    }
    storage.disk.before(&Operation::MakeRoot)?;
    let mut missing: Vec<_> = root.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    missing.reverse();
    std::fs::create_dir_all(root)?;
    if storage.durability == Durability::Fsync {
        for made in missing {
            let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
            std::fs::File::open(parent.unwrap_or(std::path::Path::new(".")))?.sync_all()?;
        }
    }
    Ok(())
}

/// Removes the unfinished writes in a folder whose writers are gone, now and then
/// where it is large. Best effort: what can't be removed now is left to a later
/// write.
fn sweep(storage: &LocalFileStorage, folder: &Dir, path: &str) {
    let size = folder.dir_metadata().map_or(0, |metadata| metadata.size());
    if !is_swept(size, random_number().unwrap_or_default()) || storage.disk.before(&Operation::List(path)).is_err() {
        return;
    }
    let Ok(entries) = folder.entries() else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(text) = name.to_str().filter(|text| is_temporary(text)) else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        // A lock, once it is ours, is kept until the name is gone.
        let (is_debris, _lock) = if is_unlocked_temporary(text) {
            let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time.into_std()).ok());
            (age.is_some_and(|age| age > ABANDONED), None)
        } else {
            let file = open_to_lock(folder, text).ok();
            (file.as_ref().is_some_and(|file| file.try_lock().is_ok()), file)
        };
        if is_debris {
            let announced = storage.disk.before(&Operation::Remove(path, &name.to_string_lossy()));
            let removed = announced.and_then(|()| folder.remove_file(&name));
            tracing::debug!(file = %name.display(), ?removed, "swept an unfinished write");
        }
    }
}

/// Opens what another writer may have left, to see whether its lock can be had.
pub(super) fn open_to_lock(folder: &Dir, name: &str) -> io::Result<std::fs::File> {
    // What is put there meanwhile is not followed, and a pipe not waited for.
    let open = |access| rustix::fs::openat(folder, name, access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    // On NFS an exclusive lock needs a file that is open for writing. One that was
    // read-only already when its writer ended can't be opened so.
    let file = match open(OFlags::RDWR) {
        Err(Errno::ACCESS) => open(OFlags::RDONLY),
        opened => opened,
    }?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("this is no file"));
    }
    Ok(file.into())
}

/// A new temporary file with a lock on it; without one, where files can't be
/// locked. The umask applies to `mode`.
fn create_temporary(storage: &LocalFileStorage, folder: &Dir, path: &str, mode: u32) -> io::Result<(String, std::fs::File)> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let create = |name: &str| {
        storage.disk.before(&Operation::Create(path, name))?;
        match folder.open_with(name, &options) {
            Ok(file) => Ok(Some(file.into_std())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    };
    let mut has_locks = true;
    for _ in 0..ATTEMPTS {
        let random = random_hex()?;
        if !has_locks {
            let name = unlocked_temporary_name(&random);
            match create(&name)? {
                Some(file) => return Ok((name, file)),
                None => continue,
            }
        }
        let name = temporary_name(&random);
        let Some(file) = create(&name)? else { continue };
        let locked = storage.disk.before(&Operation::Lock).map_err(TryLockError::Error).and_then(|()| file.try_lock());
        match locked {
            // A sweep may have come between making and locking.
            Ok(()) if rustix::fs::fstat(&file)?.st_nlink > 0 => return Ok((name, file)),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "files can't be locked here");
                has_locks = false;
                if let Err(error) = storage.disk.before(&Operation::Remove(path, &name)).and_then(|()| folder.remove_file(&name)) {
                    tracing::warn!(file = name, %error, "an unfinished write is left to the next sweep");
                }
            }
        }
    }
    Err(io::Error::other("no temporary file could be made"))
}

/// How often a folder is made anew that is removed while a file is begun in it.
const MAKING_FOLDERS: u32 = 100;

/// Zeros that are left out where holes are wanted: more than any file system allocates
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
    /// Who may use it in the end; none where it stays as it was made.
    permissions: Option<Permissions>,
    written: u64,
    /// Whether runs of zeros take no space.
    leaves_holes: bool,
    sync: Option<std::fs::File>,
    /// Whether the temporary name still stands for debris.
    unfinished: bool,
}

impl LocalWriter {
    pub(super) fn open(storage: &LocalFileStorage, key: &str, options: WriteOptions) -> Result<Self> {
        let failed = |error: &io::Error| {
            let error = match Errno::from_io_error(error) {
                // Reading, this is a missing file; writing, a file that stands
                // where the key needs a folder.
                Some(Errno::NOTDIR | Errno::EXIST) => {
                    PersistError::new(ErrorCode::InvalidKey, "a file stands where the path needs a folder")
                }
                _ => local_error("create the file", error),
            };
            error.at(storage.locate(key))
        };
        let (path, name) = split(key);
        // Whoever deletes the last file of a folder may remove it meanwhile.
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

    /// The same, but that what would be a whole block of zeros is skipped.
    fn append_around_holes(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Where the first block of the file begins that is all in these bytes.
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
            // The last bytes may be one.
            self.file.set_len(self.written)?;
        }
        if let Some(permissions) = self.permissions
            && let Err(error) = give(&self.file, permissions)
        {
            // It stays as private as it was made.
            tracing::debug!(%error, "the permissions of the file could not be set");
        }
        if self.storage.durability == Durability::Fsync {
            // Never tried again: after a failed sync the system may have
            // dropped the data and will report success.
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

/// Who may use a file in the end, none for whom it is made for, and the mode that it
/// is made with.
fn to_become(permissions: Option<Permissions>, earlier: Option<&Metadata>) -> (Option<Permissions>, u32) {
    // By default readable by whom the user's umask lets, as any file the user makes.
    let by_umask = 0o666;
    match (permissions, earlier) {
        // Until it is whole, for its owner alone.
        (Some(given), _) => (Some(given), 0o600),
        // The user has chosen them. Who could not read the earlier file can't read
        // this one either.
        (None, Some(earlier)) if earlier.uid() == rustix::process::geteuid().as_raw() => {
            (Some(Permissions { bits: earlier.mode(), group: Some(earlier.gid()) }), 0o600)
        }
        // Another user has, which may close the new file to somebody, and never open it.
        (None, Some(earlier)) => (None, earlier.mode() & by_umask),
        (None, None) => (None, by_umask),
    }
}

/// Gives a file its group, then its bits: while it is another group's, nobody in that
/// one may use what is meant for this one.
fn give(file: &std::fs::File, permissions: Permissions) -> rustix::io::Result<()> {
    let mut bits = permissions.bits;
    if let Some(group) = permissions.group
        && rustix::fs::fstat(file)?.st_gid != group
        && let Err(error) = change_group(file, group)
    {
        tracing::debug!(%error, group, "the file can't be given to the group, whose permissions are left out");
        bits = permissions.without_group();
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode((bits & Permissions::MASK) as _))
}

fn change_group(file: &std::fs::File, group: u32) -> rustix::io::Result<()> {
    // For the system call this number means that the group stays.
    if group == u32::MAX {
        return Err(Errno::INVAL);
    }
    rustix::fs::fchown(file, None, Some(Gid::from_raw(group)))
}

fn already_exists() -> PersistError {
    let code = ErrorCode::AlreadyExists;
    PersistError::new(code, "there is such a file already").hint(code.file_advice().unwrap_or_default())
}

fn rename_if_absent(folder: &Dir, from: &str, to: &str) -> io::Result<()> {
    match rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Not on this file system: a link fails if the name is taken, too.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::linkat(folder, from, folder, to, AtFlags::empty())?;
            // The object is there; a name that is left over is swept as debris.
            if let Err(error) = rustix::fs::unlinkat(folder, from, AtFlags::empty()) {
                tracing::warn!(file = from, %error, "a written file's first name is left to the next sweep");
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
        // From here on the object is there, whatever happens.
        let (path, _) = split(&self.key);
        let synced = sync_folder(&self.storage, self.sync.as_ref(), path);
        synced.map_err(|error| not_durable("the file is there", &error).at(self.storage.locate(&self.key)))?;
        let announced = self.storage.disk.before(&Operation::Stat(&self.key));
        let metadata = announced.and_then(|()| cap_std::fs::File::from_std(self.file.try_clone()?).metadata());
        Ok(match metadata {
            Ok(metadata) => object_info(&self.key, &metadata),
            Err(error) => {
                tracing::debug!(%error, "a file that was written can't be looked at");
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
            tracing::warn!(file = self.temporary, %error, "an unfinished write is left to the next sweep");
        }
    }
}

/// A folder that files are deleted in.
struct Clearing<'a> {
    storage: &'a LocalFileStorage,
    folder: Dir,
    /// Its path below the root.
    path: &'a str,
    sync: Option<std::fs::File>,
}

impl<'a> Clearing<'a> {
    fn open(storage: &'a LocalFileStorage, root: &Dir, path: &'a str) -> io::Result<Self> {
        let folder = if path.is_empty() { root.try_clone()? } else { root.open_dir(path)? };
        let sync = sync_handle(storage, &folder)?;
        Ok(Self { storage, folder, path, sync })
    }

    fn remove(&self, key: &str, name: &str) -> Result<()> {
        let remove = || {
            self.storage.disk.before(&Operation::Stat(key))?;
            let existing = self.folder.symlink_metadata(name)?;
            if !existing.is_file() && !existing.is_symlink() {
                return Ok(Err(not_a_file(&existing).at(self.storage.locate(key))));
            }
            self.storage.disk.before(&Operation::Remove(self.path, name))?;
            self.folder.remove_file(name).map(Ok)
        };
        remove().map_err(|error| delete_failed(self.storage, key, &error))?
    }

    fn sync(&self, key: &str) -> Result<()> {
        let synced = sync_folder(self.storage, self.sync.as_ref(), self.path);
        synced.map_err(|error| not_durable("the file is deleted", &error).at(self.storage.locate(key)))
    }
}

fn delete_failed(storage: &LocalFileStorage, key: &str, error: &io::Error) -> PersistError {
    local_error("delete the file", error).at(storage.locate(key))
}

/// Deletes a file, durably.
pub(super) fn delete(storage: &LocalFileStorage, key: &str) -> Result<()> {
    let (path, name) = split(key);
    let clearing = storage.open_root().and_then(|root| Clearing::open(storage, &root, path));
    let clearing = clearing.map_err(|error| delete_failed(storage, key, &error))?;
    clearing.remove(key, name)?;
    clearing.sync(key)
}

/// Deletes files, of which some may be missing. Each folder is synced once.
pub(super) fn delete_many(storage: &LocalFileStorage, keys: &[String]) -> Vec<DeleteFailure> {
    let mut failures = Vec::new();
    let mut fail = |key: &String, error: PersistError| {
        if error.code() != ErrorCode::NotFound {
            failures.push(DeleteFailure { key: key.clone(), error });
        }
    };
    let mut folders: BTreeMap<&str, Vec<(&String, &str)>> = BTreeMap::new();
    for key in keys {
        match check_file_key(key) {
            Ok(()) => {
                let (path, name) = split(key);
                folders.entry(path).or_default().push((key, name));
            }
            Err(error) => fail(key, error.at(storage.locate(key))),
        }
    }
    for (path, files) in folders {
        match storage.open_root().and_then(|root| Clearing::open(storage, &root, path)) {
            Err(error) => files.iter().for_each(|(key, _)| fail(key, delete_failed(storage, key, &error))),
            Ok(clearing) => {
                let mut removed = Vec::new();
                for (key, name) in files {
                    match clearing.remove(key, name) {
                        Ok(()) => removed.push(key),
                        Err(error) => fail(key, error),
                    }
                }
                let unsynced = removed.first().and_then(|first| clearing.sync(first).err());
                if let Some(error) = unsynced {
                    removed.iter().for_each(|key| fail(key, error.clone().at(storage.locate(key))));
                }
            }
        }
    }
    failures
}

/// Removes the folders of these keys that are empty, below `folder`, which ends with `/`
/// or is empty for the root.
pub(super) fn remove_empty_folders(storage: &LocalFileStorage, folder: &str, keys: &[String]) {
    let Ok(root) = storage.open_root() else { return };
    // What is not empty stays.
    for path in folders_within(folder, keys) {
        let (above, name) = split(path);
        if storage.disk.before(&Operation::Remove(above, name)).is_ok() {
            let _ = root.remove_dir(path);
        }
    }
}
