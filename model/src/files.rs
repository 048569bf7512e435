//! The sentences of errors about files, which every storage of files and the command share.

use std::fmt::Display;

use crate::error_codes::ErrorCode;

/// The advice for a path that the system rejects.
pub const PATH_ADVICE: &str = "use a path inside the folder, without symlinks that lead out of it";

/// The message for a delete that requires an absent object.
pub const DELETE_IF_ABSENT: &str = "a delete can't have the precondition if-absent";

/// The message for a file that is missing.
pub const MISSING: &str = "there is no such file";

/// The message for a missing file in whose place there is something else.
pub const NO_FILE: &str = "there is no such file: this is a folder or a device";

/// The message for a file that can't be written because its name is taken.
pub const ALREADY_EXISTS: &str = "the file already exists";

/// Returns the message for a file operation that failed with this code. `doing` describes
/// the operation, such as `read the file`.
pub fn failed(code: ErrorCode, doing: &str, cause: impl Display) -> String {
    let failed = format!("could not {doing} ({cause})");
    match code {
        ErrorCode::NotFound => MISSING.to_owned(),
        ErrorCode::AccessDenied => format!("access denied: {failed}"),
        ErrorCode::NoSpace => format!("no space is left: {failed}"),
        ErrorCode::InvalidKey => format!("the path can't be used: {failed}"),
        _ => failed,
    }
}

/// Returns the message for a key that belongs to something other than a file.
pub fn not_a_file(is_folder: bool) -> String {
    format!("this is {}, not a file", if is_folder { "a folder" } else { "a device, pipe or socket" })
}

/// What [`not_durable`] says about a file that was written.
pub const WRITTEN: &str = "the file is there, but may not survive a power cut";

/// What [`not_durable`] says about a file that was deleted.
pub const DELETED: &str = "the file is deleted, but a power cut may bring it back";

/// Returns the message for a change whose folder could not be synced. `outcome` is
/// [`WRITTEN`] or [`DELETED`].
pub fn not_durable(outcome: &str, cause: impl Display) -> String {
    format!("{outcome}: the folder could not be synced ({cause})")
}
