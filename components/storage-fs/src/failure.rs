//! Errors of file operations.

use persist_model::error::{HINT, PATH_ADVICE};
use wasip2::filesystem::types::{DescriptorType, ErrorCode as Os};

use crate::bindings::wit::{Error, ErrorCode};

pub(crate) fn error(code: ErrorCode, message: impl Into<String>) -> Error {
    Error { code, retryable: false, key: None, message: message.into(), details: Vec::new() }
}

impl Error {
    /// Sets the key, unless there already is one.
    pub(crate) fn at(mut self, key: &str) -> Self {
        self.key.get_or_insert_with(|| key.to_owned());
        self
    }
}

/// The error for a key that belongs to something other than a file.
pub(crate) fn not_a_file(found: DescriptorType) -> Error {
    let what = if found == DescriptorType::Directory { "a folder" } else { "a device, pipe or socket" };
    error(ErrorCode::InvalidKey, format!("this is {what}, not a file"))
}

/// The error for a change that was made, but whose folder could not be synced.
pub(crate) fn not_durable(change: &str, os: Os) -> Error {
    let message = format!("{change}, but may not survive a power cut: the folder could not be synced ({})", os.name());
    let hint = (HINT.to_owned(), "check the disk, then try again".to_owned());
    Error { details: vec![hint], ..error(ErrorCode::NotDurable, message) }
}

/// The error for a failed file operation. `doing` is a verb that names it.
pub(crate) fn failed(doing: &str, os: Os) -> Error {
    let code = match os {
        Os::NoEntry | Os::NotDirectory => ErrorCode::NotFound,
        Os::Access | Os::NotPermitted | Os::ReadOnly => ErrorCode::AccessDenied,
        Os::InsufficientSpace | Os::Quota | Os::FileTooLarge => ErrorCode::NoSpace,
        Os::IsDirectory | Os::NameTooLong | Os::Loop | Os::Invalid | Os::IllegalByteSequence | Os::CrossDevice => ErrorCode::InvalidKey,
        Os::Exist => ErrorCode::AlreadyExists,
        Os::Unsupported => ErrorCode::Unsupported,
        _ => ErrorCode::Io,
    };
    let message = match code {
        ErrorCode::NotFound => "there is no such file".to_owned(),
        ErrorCode::AlreadyExists => "the file already exists".to_owned(),
        ErrorCode::AccessDenied => format!("access denied: could not {doing} the file ({})", os.name()),
        ErrorCode::NoSpace => format!("no space is left: could not {doing} the file ({})", os.name()),
        ErrorCode::InvalidKey => format!("the path can't be used: could not {doing} the file ({})", os.name()),
        ErrorCode::Unsupported => format!("this host's files can't do it: could not {doing} the file ({})", os.name()),
        _ => format!("could not {doing} the file ({})", os.name()),
    };
    let error = error(code, message);
    match code {
        ErrorCode::InvalidKey => Error { details: vec![(HINT.to_owned(), PATH_ADVICE.to_owned())], ..error },
        _ => error,
    }
}
