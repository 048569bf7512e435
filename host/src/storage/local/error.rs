//! Errors of the file system, as errors of the storage. Their sentences are in
//! `persist_model::files`.

use std::io;

use cap_std::fs::Metadata;
use persist_model::files::{self, PATH_ADVICE};
use persist_model::{ErrorCode, PersistError};
use rustix::io::Errno;

pub(super) fn not_a_file(metadata: &Metadata) -> PersistError {
    PersistError::new(ErrorCode::InvalidKey, files::not_a_file(metadata.is_dir()))
}

/// Converts the error of a file operation. `doing` describes the operation, such as
/// `read the file`.
pub(super) fn local_error(doing: &str, error: &io::Error) -> PersistError {
    let errno = Errno::from_io_error(error);
    let code = match errno {
        Some(Errno::NOENT | Errno::NOTDIR) => ErrorCode::NotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => ErrorCode::AccessDenied,
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => ErrorCode::NoSpace,
        Some(Errno::ISDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::INVAL | Errno::ILSEQ | Errno::XDEV) => ErrorCode::InvalidKey,
        Some(Errno::TIMEDOUT) => ErrorCode::Timeout,
        // cap-std's own error for a path that leads out of the root.
        None if error.kind() == io::ErrorKind::PermissionDenied => ErrorCode::InvalidKey,
        _ => ErrorCode::Io,
    };
    // An error can't be copied as it is.
    let copy = error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error);
    let error = PersistError::new(code, files::failed(code, doing, error)).caused_by(copy);
    match if code == ErrorCode::InvalidKey { Some(PATH_ADVICE) } else { code.file_advice() } {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
