//! Where `restore` and `salvage` put a state.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use persist_model::location::MAX_LINKS;
use persist_model::{ErrorCode, PersistError, Result, StorageLocation};

use crate::IfExists;
use crate::host::{FileWriter, Host};
use crate::output::Failure;

/// Refuses to put a state where the snapshot is that it comes out of, which may be
/// the only copy.
///
/// # Errors
/// `InvalidArgument`.
pub fn check_output(host: &impl Host, output: &Path, source: &StorageLocation) -> Result<()> {
    let file = if output == Path::new("-") { Path::new("/dev/stdout") } else { output };
    if !host.is_same_file(file, source) {
        return Ok(());
    }
    let error = PersistError::new(ErrorCode::InvalidArgument, "the output is the snapshot itself, and would replace it");
    Err(error.at(output.display()).hint("give another file"))
}

/// Whether an `--output` is a stream, of which nothing can be taken back: stdout, what
/// is open already, as /dev/fd/3, or a device or pipe that is there.
pub fn is_stream(path: &Path) -> bool {
    let is_open = path == Path::new("-") || is_descriptor(path);
    is_open || path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Whether a path leads to what is open already, as /dev/stdin, /dev/fd/3 and links to
/// them do.
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

/// The names of what every program has open.
const STANDARD: [&str; 3] = ["/dev/stdin", "/dev/stdout", "/dev/stderr"];

/// Whether a file is what stdout goes to.
#[cfg(unix)]
fn is_stdout(file: &File) -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let identity = |file: &File| file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let stdout = io::stdout().as_fd().try_clone_to_owned().ok().map(File::from);
    stdout.is_some_and(|stdout| identity(&stdout).is_some_and(|stdout| identity(file) == Some(stdout)))
}

/// Whether a file is what stdout goes to: elsewhere this is not known.
#[cfg(not(unix))]
fn is_stdout(_: &File) -> bool {
    false
}

/// Where a state goes.
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, by the protocol that snapshots are written by.
    File(Box<dyn FileWriter>),
    /// A device or pipe that is there: nothing can be replaced.
    Stream(File),
}

impl Target {
    /// Opens the target of `--output`: `-` is stdout. `size` is a hint, and
    /// `source` the snapshot whose permissions a file gets.
    ///
    /// # Errors
    /// As [`Host::create_file`].
    pub fn open(host: &impl Host, path: &Path, size: Option<u64>, if_exists: IfExists, source: &StorageLocation) -> Result<Self> {
        if path == Path::new("-") || path == Path::new("/dev/stdout") {
            return Ok(Self::Stdout);
        }
        // It is written to and never replaced.
        if is_stream(path) {
            // Nor does a state go where another user's link leads.
            if let Err(error) = StorageLocation::from_path_to_write(path)
                && error.code() == ErrorCode::AccessDenied
            {
                return Err(error);
            }
            let file = File::options().append(true).open(path).map_err(|error| stream_failed(path, &error))?;
            if is_stdout(&file) {
                return Ok(Self::Stdout);
            }
            // Opened anew, it has a place of its own in the file: what others write
            // to what they have open would come over the state.
            if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
                let error = PersistError::new(ErrorCode::InvalidArgument, "this is a file that is open for somebody else");
                return Err(error.at(path.display()).hint("give the file's own path; or - for stdout"));
            }
            return Ok(Self::Stream(file));
        }
        Ok(Self::File(host.create_file(path, size, if_exists, source)?))
    }

    /// Appends to the state.
    ///
    /// # Errors
    /// If the target takes no more.
    pub fn write(&mut self, path: &Path, chunk: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(chunk).map_err(|error| Failure::stdout(&error)),
            Self::File(writer) => Ok(writer.write(chunk)?),
            Self::Stream(file) => file.write_all(chunk).map_err(|error| stream_failed(path, &error).into()),
        }
    }

    /// Makes the file visible.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish(self) -> Result<(), Failure> {
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
