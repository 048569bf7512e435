//! The file that a restored state is written to, in any folder that the host grants access
//! to. Like a snapshot, it appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use persist_cli::{FileWriter, IfExists};
use persist_model::files::{self, PATH_ADVICE};
use persist_model::{ErrorCode, PersistError, Result};
use persist_paths::StorageLocation;
use persist_paths::key::{ABANDONED_AFTER, check_file_key, is_swept, is_unlocked_temporary, unlocked_temporary_name};

use crate::folder;

pub(crate) struct StateFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    if_exists: IfExists,
    is_there: bool,
}

/// A loop of symlinks, in WASI's libc. The standard library has no stable name for it.
const ELOOP: i32 = 32;

fn failed(doing: &str, path: &Path, error: &io::Error) -> PersistError {
    use io::ErrorKind as Kind;
    let code = match error.kind() {
        Kind::NotADirectory | Kind::AlreadyExists => ErrorCode::InvalidKey,
        kind if kind == Kind::InvalidFilename || error.raw_os_error() == Some(ELOOP) => ErrorCode::InvalidKey,
        Kind::NotFound => ErrorCode::NotFound,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => ErrorCode::AccessDenied,
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => ErrorCode::NoSpace,
        _ => ErrorCode::Io,
    };
    let (message, advice) = match error.kind() {
        Kind::NotADirectory | Kind::AlreadyExists => ("a parent of the path is a file, not a folder".to_owned(), None),
        // A folder is missing, which "there is no such file" would not say.
        Kind::NotFound => (format!("could not {doing} the file ({error})"), code.file_advice()),
        _ if code == ErrorCode::InvalidKey => (files::failed(code, &format!("{doing} the file"), error), Some(PATH_ADVICE)),
        _ => (files::failed(code, &format!("{doing} the file"), error), code.file_advice()),
    };
    let advice = if folder::is_given(path) { advice } else { Some(folder::GRANT) };
    let failed = PersistError::new(code, message).at(path.display());
    match advice {
        Some(advice) => failed.hint(advice),
        None => failed,
    }
}

/// Removes unfinished writes from a folder, as the storage does: in a large folder only now
/// and then. A later write removes what can't be removed now.
fn sweep(folder: &Path) {
    let size = fs::metadata(folder).map_or(0, |metadata| metadata.len());
    if !is_swept(size, wasip2::random::random::get_random_u64()) {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_unlocked_temporary)) {
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        if written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age > ABANDONED_AFTER)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A descriptor that does not support the operation, in WASI's libc.
const EBADF: i32 = 8;

/// Makes the last changes of names in the folder of a file durable, if the host can.
fn sync_folder(path: &Path) -> io::Result<()> {
    use io::ErrorKind as Kind;
    match File::open(folder_of(path)).and_then(|folder| folder.sync_all()) {
        // The host can't sync, or can't sync folders.
        Err(error)
            if error.raw_os_error() == Some(EBADF)
                || matches!(error.kind(), Kind::Unsupported | Kind::InvalidInput | Kind::IsADirectory | Kind::PermissionDenied) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

fn not_durable(path: &Path, error: &io::Error) -> PersistError {
    let code = ErrorCode::NotDurable;
    PersistError::new(code, files::not_durable(files::WRITTEN, error)).at(path.display()).hint(code.advice().unwrap_or_default())
}

/// Returns the location of a file that a state is written to: a path or a URL. `follow`
/// resolves a symlink.
pub(crate) fn file_of(path: &Path, follow: fn(&Path) -> Result<StorageLocation>) -> Result<StorageLocation> {
    match path.to_str() {
        Some(text) if text.contains("://") => StorageLocation::parse(text),
        _ => follow(path),
    }
}

fn already_exists(path: &Path) -> PersistError {
    let code = ErrorCode::AlreadyExists;
    PersistError::new(code, files::ALREADY_EXISTS).at(path.display()).hint(code.file_advice().unwrap_or_default())
}

impl StateFile {
    pub(crate) fn create(path: &Path, if_exists: IfExists) -> Result<Self> {
        let location = file_of(path, StorageLocation::from_path_to_write)?;
        let StorageLocation::Local { root, key } = &location else {
            let error = PersistError::new(ErrorCode::InvalidArgument, "the state can only be written to a local file").at(location);
            return Err(error.hint("give a path, or - for stdout"));
        };
        check_file_key(key)?;
        let path = root.join(key);
        if path.is_dir() {
            return Err(PersistError::new(ErrorCode::InvalidKey, files::not_a_file(true)).at(path.display()));
        }
        if !root.as_os_str().is_empty() {
            fs::create_dir_all(root).map_err(|error| failed("create", &path, &error))?;
        }
        // Find out now that a name can't be used, not after all of the state is written.
        match fs::symlink_metadata(&path) {
            Ok(_) if matches!(if_exists, IfExists::Fail) => return Err(already_exists(&path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("create", &path, &error)),
            _ => {}
        }
        sweep(folder_of(&path));
        let name = unlocked_temporary_name(&format!("{:016x}", wasip2::random::random::get_random_u64()));
        let temporary = path.with_file_name(name);
        let file = File::create_new(&temporary).map_err(|error| failed("create", &path, &error))?;
        Ok(Self { path, temporary, file, if_exists, is_there: false })
    }

    fn publish(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        match self.if_exists {
            IfExists::Replace => fs::rename(&self.temporary, &self.path),
            IfExists::Fail => {
                // A link fails if the name is taken; a rename does not.
                fs::hard_link(&self.temporary, &self.path)?;
                // The file is there. If the temporary name stays, it is swept as debris later.
                let _ = fs::remove_file(&self.temporary);
                Ok(())
            }
        }
    }
}

impl FileWriter for StateFile {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.file.write_all(chunk).map_err(|error| failed("write", &self.path, &error))
    }

    fn commit(mut self: Box<Self>) -> Result<()> {
        self.publish().map_err(|error| match (self.if_exists, error.kind()) {
            (IfExists::Fail, io::ErrorKind::AlreadyExists) => already_exists(&self.path),
            _ => failed("store", &self.path, &error),
        })?;
        self.is_there = true;
        sync_folder(&self.path).map_err(|error| not_durable(&self.path, &error))
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        if !self.is_there {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
