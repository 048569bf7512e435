//! Where a restored state goes: a file that appears whole or not at all, as
//! snapshots do, in any folder that the host gives.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use persist_cli::FileWriter;
use persist_model::key::temporary_name;
use persist_model::{ErrorCode, PersistError, Result, StorageLocation};

pub(crate) struct StateFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    is_there: bool,
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> PersistError {
    let code = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorCode::NotFound,
        io::ErrorKind::PermissionDenied => ErrorCode::AccessDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::NoSpace,
        _ => ErrorCode::Io,
    };
    PersistError::new(code, format!("could not {doing} the file: {error}")).at(path.display())
}

/// Makes durable what was named in a folder, where the host can.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

impl StateFile {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let location = match path.to_str() {
            Some(text) if text.contains("://") => StorageLocation::parse(text)?,
            _ => StorageLocation::from_path_followed(path)?,
        };
        let StorageLocation::Local { root, key } = &location else {
            let error = PersistError::new(ErrorCode::InvalidArgument, "the state can only go to a local file").at(location);
            return Err(error.hint("give a path, or - for stdout"));
        };
        let path = root.join(key);
        if path.is_dir() {
            return Err(PersistError::new(ErrorCode::InvalidKey, "this is a folder, not a file").at(path.display()));
        }
        if !root.as_os_str().is_empty() {
            fs::create_dir_all(root).map_err(|error| failed("create", &path, &error))?;
        }
        let name = temporary_name(&format!("{:016x}", wasip2::random::random::get_random_u64()));
        let temporary = path.with_file_name(name);
        let file = File::create_new(&temporary).map_err(|error| failed("create", &path, &error))?;
        Ok(Self { path, temporary, file, is_there: false })
    }

    fn publish(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)
    }
}

impl FileWriter for StateFile {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.file.write_all(chunk).map_err(|error| failed("write", &self.path, &error))
    }

    fn commit(mut self: Box<Self>) -> Result<()> {
        self.publish().map_err(|error| failed("store", &self.path, &error))?;
        self.is_there = true;
        sync_folder(&self.path);
        Ok(())
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        if !self.is_there {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
