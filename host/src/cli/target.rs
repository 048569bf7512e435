//! Where `restore` and `salvage` put a state.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::output::Failure;
use crate::{ErrorCode, LocalFileStorage, PersistError, Result, StorageAdapter, StorageLocation, StorageWriter, WriteOptions};

/// Where a state goes.
pub(crate) enum Target {
    Stdout,
    /// A file, by the protocol that snapshots are written by.
    File(Box<dyn StorageWriter>),
    /// A device or pipe that is there: nothing can be replaced.
    Stream(File),
}

impl Target {
    /// Opens the target of `--output`: `-` is stdout. `size` is a hint.
    pub(crate) fn open(path: &Path, size: Option<u64>) -> Result<Self> {
        if path == Path::new("-") || path == Path::new("/dev/stdout") {
            return Ok(Self::Stdout);
        }
        // What is open already, as /dev/fd/3, is written to and never replaced.
        let is_descriptor = path.starts_with("/dev/fd") || path.starts_with("/proc") || path == Path::new("/dev/stderr");
        let is_stream = path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        if is_descriptor || is_stream {
            return File::options().append(true).open(path).map(Self::Stream).map_err(|error| stream_failed(path, &error));
        }
        let location = match path.to_str() {
            Some(text) if text.contains("://") => StorageLocation::parse(text)?,
            _ => StorageLocation::from_path_followed(path)?,
        };
        let StorageLocation::Local { root, key } = &location else {
            let error = PersistError::new(ErrorCode::InvalidArgument, "the state can only go to a local file").at(location);
            return Err(error.hint("give a path, or - for stdout"));
        };
        let options = WriteOptions { size_hint: size, ..WriteOptions::default() };
        Ok(Self::File(LocalFileStorage::new(root).open_write(key, options)?))
    }

    /// Appends to the state.
    pub(crate) fn write(&mut self, path: &Path, chunk: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(chunk).map_err(|error| Failure::stdout(&error)),
            Self::File(writer) => Ok(writer.write(chunk)?),
            Self::Stream(file) => file.write_all(chunk).map_err(|error| stream_failed(path, &error).into()),
        }
    }

    /// Makes the file visible.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout => io::stdout().lock().flush().map_err(|error| Failure::stdout(&error)),
            Self::File(writer) => Ok(writer.commit().map(drop)?),
            Self::Stream(_) => Ok(()),
        }
    }
}

fn stream_failed(path: &Path, error: &io::Error) -> PersistError {
    PersistError::new(ErrorCode::Io, format!("could not write the state: {error}")).at(path.display())
}
