//! The sentences of errors about files, which every storage of files and the command share.

use std::fmt::Display;

use crate::code::ErrorCode;

/// The advice for a path that the system rejects.
pub const PATH_ADVICE: &str = "use a path inside the folder, without symlinks that lead out of it";

/// The message for a delete that requires an absent object.
pub const DELETE_IF_ABSENT: &str = "a delete can't have the precondition if-absent";

/// The message for a file that can't be written because its name is taken.
pub const ALREADY_EXISTS: &str = "the file already exists";

/// Returns the message for a file operation that failed with this code. `doing` describes
/// the operation, such as `read the file`.
pub fn failed(code: ErrorCode, doing: &str, cause: impl Display) -> String {
    let failed = format!("could not {doing} ({cause})");
    match code {
        ErrorCode::NotFound => "there is no such file".to_owned(),
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

/// Returns the message for a change, such as `the file is there`, whose folder could not be
/// synced.
pub fn not_durable(change: &str, cause: impl Display) -> String {
    format!("{change}, but may not survive a power cut: the folder could not be synced ({cause})")
}
