//! Errors of file operations.

use persist_model::error::HINT;
use persist_model::files::{self, PATH_ADVICE};
use wasip2::filesystem::types::{DescriptorType, ErrorCode as Os};

use crate::bindings::wit::{Error, ErrorCode};

persist_model::code_conversions!(crate::bindings::wit);

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
    error(ErrorCode::InvalidKey, files::not_a_file(found == DescriptorType::Directory))
}

/// The error for a change that was made, but whose folder could not be synced.
pub(crate) fn not_durable(outcome: &str, os: Os) -> Error {
    let hint = (HINT.to_owned(), "check the disk, then try again".to_owned());
    Error { details: vec![hint], ..error(ErrorCode::NotDurable, files::not_durable(outcome, os.name())) }
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
    let cause = os.name();
    let message = match code {
        ErrorCode::AlreadyExists => files::ALREADY_EXISTS.to_owned(),
        ErrorCode::Unsupported => format!("this host's files do not support this: could not {doing} the file ({cause})"),
        code => files::failed(code.into(), &format!("{doing} the file"), cause),
    };
    let error = error(code, message);
    match code {
        ErrorCode::InvalidKey => Error { details: vec![(HINT.to_owned(), PATH_ADVICE.to_owned())], ..error },
        _ => error,
    }
}
