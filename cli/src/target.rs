//! Where `restore` and `salvage` write a state to.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use persist_model::{ErrorCode, PersistError, Result};
use persist_paths::MAX_LINKS;
use persist_paths::StorageLocation;
use persist_paths::timeline::is_reserved;

use crate::choices::IfExists;
use crate::host::{FileWriter, Host};
use crate::output::Failure;
use crate::step_names::{Part, check_path};

/// Refuses to overwrite the snapshot that the state is read from, which may be the only
/// copy, or a step of a timeline.
///
/// # Errors
/// `InvalidArgument` if the output is the snapshot, or has the name of a step.
pub(crate) fn check_output(host: &impl Host, output: &Path, source: &StorageLocation) -> Result<()> {
    check_name(output).map_err(|error| error.at(output.display()).hint("give another file"))?;
    let file = if output == Path::new("-") { Path::new("/dev/stdout") } else { output };
    if !host.is_same_file(file, source) {
        return Ok(());
    }
    let error = PersistError::new(ErrorCode::InvalidArgument, "the output is the snapshot itself, and would replace it");
    Err(error.at(output.display()).hint("give another file"))
}

/// Refuses the name of a step or of what belongs to one, and one that would be taken for a step.
/// Of a symlink, that of the file that it leads to.
fn check_name(output: &Path) -> Result<()> {
    let location = match output.to_str() {
        Some(text) if text.contains("://") => StorageLocation::parse(text),
        _ => StorageLocation::from_path_followed(output),
    };
    // Whatever is no local file is refused when it is opened.
    let Ok(StorageLocation::Local { root, key }) = location else { return Ok(()) };
    if is_reserved(&key) {
        return Err(PersistError::new(ErrorCode::InvalidArgument, "a state can't have the name of a step of a timeline"));
    }
    check_path(&root.join(key), Part::Whole)
}

/// Returns whether an `--output` is a stream, which cannot be rolled back: stdout, an
/// open descriptor such as /dev/fd/3, or an existing device or pipe.
pub(crate) fn is_stream(path: &Path) -> bool {
    let is_open = path == Path::new("-") || is_descriptor(path);
    is_open || path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Returns whether a path leads to an open descriptor, such as /dev/stdin, /dev/fd/3 or a
/// link to one of them.
pub(crate) fn is_descriptor(path: &Path) -> bool {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if STANDARD.iter().any(|stream| path == Path::new(stream)) {
            return true;
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(folder) = folder.canonicalize() else { return false };
        if folder == Path::new("/dev/fd") || folder.starts_with("/proc") && folder.ends_with("fd") {
            return true;
        }
        let Ok(target) = path.read_link() else { return false };
        path = folder.join(target);
    }
    false
}

/// The names of the standard streams.
const STANDARD: [&str; 3] = ["/dev/stdin", "/dev/stdout", "/dev/stderr"];

/// Returns whether a file is the one that stdout is redirected to.
#[cfg(unix)]
fn is_stdout(file: &File) -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let identity = |file: &File| file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let stdout = io::stdout().as_fd().try_clone_to_owned().ok().map(File::from);
    stdout.is_some_and(|stdout| identity(&stdout).is_some_and(|stdout| identity(file) == Some(stdout)))
}

/// Returns false: without Unix this cannot be determined.
#[cfg(not(unix))]
fn is_stdout(_: &File) -> bool {
    false
}

/// Where a state goes.
pub(crate) enum Target {
    /// Standard output.
    Stdout,
    /// A file, written atomically like a snapshot.
    File(Box<dyn FileWriter>),
    /// An existing device or pipe, which is written to but never replaced.
    Stream(File),
}

impl Target {
    /// Opens the target of `--output`, where `-` is stdout. `size` is a hint; a file gets
    /// the permissions of the snapshot at `source`.
    ///
    /// # Errors
    /// Those of [`Host::create_file`].
    pub(crate) fn open(host: &impl Host, path: &Path, size: Option<u64>, if_exists: IfExists, source: &StorageLocation) -> Result<Self> {
        if path == Path::new("-") || path == Path::new("/dev/stdout") {
            return Ok(Self::Stdout);
        }
        if is_stream(path) {
            // Another user's symlink is not followed.
            if let Err(error) = StorageLocation::from_path_to_write(path)
                && error.code() == ErrorCode::AccessDenied
            {
                return Err(error);
            }
            let file = File::options().append(true).open(path).map_err(|error| stream_failed(path, &error))?;
            if is_stdout(&file) {
                return Ok(Self::Stdout);
            }
            // Opening it again gives it a separate position: what others write through
            // their descriptor would overwrite the state.
            if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
                let error = PersistError::new(ErrorCode::InvalidArgument, "this descriptor is a regular file that is already open");
                return Err(error.at(path.display()).hint("give the path of the file, or - for stdout"));
            }
            return Ok(Self::Stream(file));
        }
        Ok(Self::File(host.create_file(path, size, if_exists, source)?))
    }

    /// Appends to the state.
    ///
    /// # Errors
    /// If the target cannot be written to.
    pub(crate) fn write(&mut self, path: &Path, chunk: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(chunk).map_err(|error| Failure::stdout(&error)),
            Self::File(writer) => Ok(writer.write(chunk)?),
            Self::Stream(file) => file.write_all(chunk).map_err(|error| stream_failed(path, &error).into()),
        }
    }

    /// Finishes the output and makes a file visible.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout => io::stdout().lock().flush().map_err(|error| Failure::stdout(&error)),
            Self::File(writer) => Ok(writer.commit()?),
            Self::Stream(_) => Ok(()),
        }
    }
}

fn stream_failed(path: &Path, error: &io::Error) -> PersistError {
    PersistError::new(ErrorCode::Io, format!("could not write the state: {error}")).at(path.display())
}
