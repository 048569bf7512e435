//! One error for everything, with a code to act on and a sentence to read.

use std::fmt;

pub use crate::code::{ErrorCode, ErrorDetail, PersistError};

impl ErrorCode {
    /// What to do about a snapshot that can't be read.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::Integrity | Self::InvalidFormat => Some("take another copy, or see what 'persist salvage' can get"),
            Self::NotASnapshot => Some("check the path: this is another kind of file"),
            Self::UnsupportedFormat => Some("update persist"),
            Self::OutcomeUnknown => Some("look at what is there now before you do it again"),
            Self::NotDurable => Some("check the disk, then do it again"),
            _ => None,
        }
    }
}

impl ErrorCode {
    /// What to do where a file is not there, or can't be read or written.
    pub fn file_advice(self) -> Option<&'static str> {
        match self {
            Self::NotFound => Some("check the path, or look with 'persist list'"),
            Self::AccessDenied => Some("check the permissions of file and folder"),
            Self::NoSpace => Some("free some space and try again"),
            Self::AlreadyExists => Some("choose another name, or allow it to be replaced"),
            _ => None,
        }
    }
}

/// What to do where a system says that a path can't be used.
pub const PATH_ADVICE: &str = "a path stays below its folder, and no symlink leads out";

/// The name of the detail in which a storage says what to do: the contract has no
/// word for it, and the component passes details on.
pub const HINT: &str = "hint";

/// The name and value of the detail with which the component says that what looks like
/// a snapshot that was cut short may as well be a whole file of another kind.
pub const UNCERTAIN: (&str, &str) = ("certain", "no");

/// Whether what an error is about may as well be a whole file of another kind.
pub fn may_be_another_kind(error: &PersistError) -> bool {
    error.detail().facts.iter().any(|(name, value)| (name.as_str(), value.as_str()) == UNCERTAIN)
}

/// The result of an operation of this library.
pub type Result<T, E = PersistError> = std::result::Result<T, E>;

impl PersistError {
    /// An error of this code, in the variant that the code belongs to.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let retryable = matches!(code, ErrorCode::Unavailable | ErrorCode::Timeout | ErrorCode::Conflict);
        Self::from_detail(ErrorDetail { code, message: message.into(), location: None, retryable, hint: None, facts: Vec::new() })
    }

    /// The error with these facts, in the variant that its code belongs to.
    pub fn from_detail(detail: ErrorDetail) -> Self {
        detail.code.class()(Box::new(detail))
    }

    /// The same error at this location, unless it already names one.
    #[must_use]
    pub fn at(mut self, location: impl fmt::Display) -> Self {
        self.detail_mut().location.get_or_insert_with(|| location.to_string());
        self
    }

    /// The same error with advice, unless it already gives some.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.detail_mut().hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The kind of failure.
    pub fn code(&self) -> ErrorCode {
        self.detail().code
    }

    /// Where it happened.
    pub fn location(&self) -> Option<&str> {
        self.detail().location.as_deref()
    }

    /// Whether the same call may succeed later with nothing else changed.
    pub fn retryable(&self) -> bool {
        self.detail().retryable
    }
}

impl fmt::Display for PersistError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = &self.detail().message;
        match self.kind() {
            "" => f.write_str(message),
            kind => write!(f, "{kind}: {message}"),
        }
    }
}

impl std::error::Error for PersistError {}

impl From<PersistError> for std::io::Error {
    fn from(error: PersistError) -> Self {
        use std::io::ErrorKind;
        let kind = match error.code() {
            ErrorCode::NotFound => ErrorKind::NotFound,
            ErrorCode::AlreadyExists => ErrorKind::AlreadyExists,
            ErrorCode::AccessDenied | ErrorCode::Credentials => ErrorKind::PermissionDenied,
            ErrorCode::Timeout | ErrorCode::Deadline => ErrorKind::TimedOut,
            ErrorCode::Integrity
            | ErrorCode::NotASnapshot
            | ErrorCode::InvalidFormat
            | ErrorCode::UnsupportedFormat
            | ErrorCode::WrongKind => ErrorKind::InvalidData,
            ErrorCode::InvalidArgument | ErrorCode::InvalidKey => ErrorKind::InvalidInput,
            ErrorCode::MemoryLimit => ErrorKind::OutOfMemory,
            ErrorCode::NoSpace => ErrorKind::StorageFull,
            ErrorCode::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
