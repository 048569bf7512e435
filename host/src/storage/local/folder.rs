//! The folders that files are written in: makes them, syncs them, and removes what
//! other writers left in them.

use std::fs::TryLockError;
use std::io;
use std::time::SystemTime;

use cap_std::fs::{Dir, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use persist_model::{ErrorCode, PersistError, files};
use persist_paths::key::{ABANDONED_AFTER, is_swept, is_temporary, is_unlocked_temporary, split, temporary_name, unlocked_temporary_name};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::storage::local::disk::Operation;
use crate::storage::local::place::{Durability, LocalFileStorage};
use crate::system::random::{random_hex, random_number};

/// How many names are tried. Two random names never clash by chance.
const ATTEMPTS: u32 = 16;

/// Returns a handle to sync a folder with, or none if nothing is synced. It is opened
/// before a change, so that a folder that can't be synced is detected before anything
/// has changed.
pub(super) fn sync_handle(storage: &LocalFileStorage, folder: &Dir) -> io::Result<Option<std::fs::File>> {
    match storage.durability {
        // The folder's own handle may allow only lookups.
        Durability::Fsync => Ok(Some(folder.open(".")?.into_std())),
        Durability::None => Ok(None),
    }
}

/// Makes new names in a folder durable. `path` is the path of the folder.
pub(super) fn sync_folder(storage: &LocalFileStorage, handle: Option<&std::fs::File>, path: &str) -> io::Result<()> {
    let Some(handle) = handle else { return Ok(()) };
    storage.disk.before(&Operation::SyncFolder(path))?;
    handle.sync_all()
}

/// The error of a failed sync after the change was made.
pub(super) fn not_durable(outcome: &str, error: &io::Error) -> PersistError {
    let code = ErrorCode::NotDurable;
    PersistError::new(code, files::not_durable(outcome, error)).hint(code.advice().unwrap_or_default())
}

/// Opens the folder of a key's file, and makes missing folders.
pub(super) fn open_or_make_folder(storage: &LocalFileStorage, path: &str) -> io::Result<Dir> {
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
            // Another writer may have just made it and not synced it yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        sync_folder(storage, sync_handle(storage, &parent)?.as_ref(), split(part).0)?;
        parent = root.open_dir(part)?;
    }
    Ok(parent)
}

/// Makes the root and missing folders above it, and syncs each new entry.
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

/// Removes unfinished files of writers that are gone. A large folder is swept only now
/// and then. A file that can't be removed is left to a later write.
pub(super) fn sweep(storage: &LocalFileStorage, folder: &Dir, path: &str) {
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
        // If the lock was taken, it is kept until the file is removed.
        let (is_debris, _lock) = if is_unlocked_temporary(text) {
            let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time.into_std()).ok());
            (age.is_some_and(|age| age > ABANDONED_AFTER), None)
        } else {
            let file = open_to_lock(folder, text).ok();
            (file.as_ref().is_some_and(|file| file.try_lock().is_ok()), file)
        };
        if is_debris {
            let announced = storage.disk.before(&Operation::Remove(path, &name.to_string_lossy()));
            let removed = announced.and_then(|()| folder.remove_file(&name));
            tracing::debug!(file = %name.display(), ?removed, "swept an unfinished file");
        }
    }
}

/// Opens a file that another writer may have left, to see whether its lock can be
/// taken.
pub(super) fn open_to_lock(folder: &Dir, name: &str) -> io::Result<std::fs::File> {
    // The file may have been replaced: a link is not followed, and a pipe is not waited
    // for.
    let open = |access| rustix::fs::openat(folder, name, access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    // On NFS, an exclusive lock requires that the file is open for writing. That fails
    // for a file that was already read-only when its writer ended.
    let file = match open(OFlags::RDWR) {
        Err(Errno::ACCESS) => open(OFlags::RDONLY),
        opened => opened,
    }?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("this is not a file"));
    }
    Ok(file.into())
}

/// Makes a temporary file with a lock on it, or without one where files can't be
/// locked. The umask applies to `mode`.
pub(super) fn create_temporary(storage: &LocalFileStorage, folder: &Dir, path: &str, mode: u32) -> io::Result<(String, std::fs::File)> {
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
            // Another sweep may have removed the file before it was locked.
            Ok(()) if rustix::fs::fstat(&file)?.st_nlink > 0 => return Ok((name, file)),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "files can't be locked here");
                has_locks = false;
                if let Err(error) = storage.disk.before(&Operation::Remove(path, &name)).and_then(|()| folder.remove_file(&name)) {
                    tracing::warn!(file = name, %error, "an unfinished file is left to the next sweep");
                }
            }
        }
    }
    Err(io::Error::other("no temporary file could be created"))
}
