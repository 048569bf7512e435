//! The state that is saved: a file, stdin, or a pipe.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use persist_model::{ErrorCode, Permissions, PersistError, Result};

use crate::host::Host;
use crate::target::is_descriptor;

/// An open state.
pub(crate) struct State {
    pub(crate) bytes: Box<dyn Read + Send>,
    /// The size and permissions, if it is a file.
    pub(crate) size: Option<u64>,
    pub(crate) permissions: Option<Permissions>,
}

pub(crate) fn open_state(path: &Path) -> Result<State> {
    if path == Path::new("-") {
        return Ok(State { bytes: Box::new(io::stdin()), size: None, permissions: None });
    }
    let opened = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, metadata))
    });
    let (file, metadata) = opened.map_err(|error| state_failed(path, &error))?;
    if metadata.is_dir() {
        return Err(PersistError::new(ErrorCode::InvalidArgument, "the state is a folder")
            .at(path.display())
            .hint("give the file that holds it"));
    }
    let size = metadata.is_file().then_some(metadata.len());
    #[cfg(unix)]
    let permissions = metadata.is_file().then(|| Permissions::of(&metadata));
    #[cfg(not(unix))]
    let permissions = None;
    Ok(State { bytes: Box::new(file), size, permissions })
}

fn state_failed(path: &Path, error: &io::Error) -> PersistError {
    let (code, message) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorCode::NotFound, "there is no such state file".to_owned()),
        io::ErrorKind::PermissionDenied => (ErrorCode::AccessDenied, "access denied to the state file".to_owned()),
        _ => (ErrorCode::Io, format!("could not read the state: {error}")),
    };
    PersistError::new(code, message).at(path.display())
}

/// The parts of a state, the last of which is empty. Errors name the state.
pub(crate) struct Parts<'a> {
    next: Box<dyn FnMut() -> Result<io::Result<Vec<u8>>>>,
    path: &'a Path,
}

impl Parts<'_> {
    pub(crate) fn next(&mut self) -> Result<Vec<u8>> {
        (self.next)().map_err(|error| error.at(self.path.display()))?.map_err(|error| state_failed(self.path, &error))
    }
}

/// Returns the error for an empty state that does not come from a named file.
fn nothing_came(host: &impl Host, path: &Path) -> PersistError {
    let is_stdin = [Path::new("-"), Path::new("/dev/stdin")].contains(&path);
    let (message, hint) = if is_stdin && host.is_stdin_closed() {
        ("the state is empty: stdin is closed or /dev/null", "pipe the state in, or name its file; --allow-empty saves an empty state")
    } else {
        ("the state is empty: the program that writes it may have failed", "give --allow-empty to save an empty state")
    };
    PersistError::new(ErrorCode::InvalidArgument, message).at(if is_stdin { "stdin".into() } else { path.to_string_lossy() }).hint(hint)
}

impl<'a> Parts<'a> {
    /// Returns the parts of an open state. Reads the first one before anything is created,
    /// where an empty state is refused: the contents of a descriptor depend on the process
    /// that opened it, so an empty one is refused like an empty pipe.
    pub(crate) fn begin(host: &impl Host, path: &'a Path, state: State, allow_empty: bool) -> Result<(Self, Vec<u8>)> {
        let mut parts = Self { next: host.parts(state.bytes), path };
        let first = parts.next()?;
        let is_named = state.size.is_some() && !is_descriptor(path);
        if first.is_empty() && !is_named && !allow_empty {
            return Err(nothing_came(host, path));
        }
        Ok((parts, first))
    }
}
