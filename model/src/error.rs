//! The one error type, with a code to act on and a sentence to read.

use std::fmt;

use crate::cause::Cause;

pub use crate::error_codes::{ErrorCode, ErrorDetail, PersistError};

impl ErrorCode {
    /// Returns advice for a snapshot that cannot be read.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::Integrity | Self::InvalidFormat => Some("use another copy, or recover what is left with 'persist salvage'"),
            Self::NotASnapshot => Some("check the path: this is a different kind of file"),
            Self::UnsupportedFormat => Some("update persist"),
            Self::OutcomeUnknown => Some("check what is stored now before you try again"),
            Self::NotDurable => Some("check the disk, then try again"),
            _ => None,
        }
    }
}

impl ErrorCode {
    /// Returns advice for a file that is missing or cannot be read or written.
    pub fn file_advice(self) -> Option<&'static str> {
        match self {
            Self::NotFound => Some("check the path, for example with 'persist list'"),
            Self::AccessDenied => Some("check the permissions of the file and its folder"),
            Self::NoSpace => Some("free some space and try again"),
            Self::AlreadyExists => Some("choose another name, or allow the existing file to be replaced"),
            _ => None,
        }
    }
}

/// The name of the detail that carries a storage's hint. The contract has no field for
/// hints, but the component passes details on.
pub const HINT: &str = "hint";

/// The name and value of the detail by which the component says that an apparently
/// truncated snapshot may be a complete file of another kind.
pub const UNCERTAIN: (&str, &str) = ("certain", "no");

/// Returns whether the object that an error is about may be a complete file of another
/// kind.
pub fn may_be_another_kind(error: &PersistError) -> bool {
    error.detail().facts.iter().any(|(name, value)| (name.as_str(), value.as_str()) == UNCERTAIN)
}

/// The result type of this library.
pub type Result<T, E = PersistError> = std::result::Result<T, E>;

impl ErrorDetail {
    /// Creates details of which only this is known.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let retryable = matches!(code, ErrorCode::Unavailable | ErrorCode::Timeout | ErrorCode::Conflict);
        let message = message.into();
        Self { code, message, location: None, retryable, hint: None, facts: Vec::new(), cause: Cause::default() }
    }
}

impl PersistError {
    /// Creates an error with this code, in the variant that the code belongs to.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::from_detail(ErrorDetail::new(code, message))
    }

    /// Creates an error with these details, in the variant that its code belongs to.
    pub fn from_detail(detail: ErrorDetail) -> Self {
        detail.code.class()(Box::new(detail))
    }

    /// Returns the error with this location, unless it already has one.
    #[must_use]
    pub fn at(mut self, location: impl fmt::Display) -> Self {
        self.detail_mut().location.get_or_insert_with(|| location.to_string());
        self
    }

    /// Returns the error with this hint, unless it already has one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.detail_mut().hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Returns the error with what led to it, which [`source`](std::error::Error::source) returns.
    #[cfg(not(target_family = "wasm"))]
    #[must_use]
    pub fn caused_by(mut self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.detail_mut().cause = Cause::new(error.into());
        self
    }

    /// Returns the error with what led to another, which is this one in other words.
    #[must_use]
    pub fn caused_as(mut self, other: &Self) -> Self {
        self.detail_mut().cause = other.detail().cause.clone();
        self
    }

    /// Returns the error code.
    pub fn code(&self) -> ErrorCode {
        self.detail().code
    }

    /// Returns the location that the error is about.
    pub fn location(&self) -> Option<&str> {
        self.detail().location.as_deref()
    }

    /// Returns whether the same call may succeed later without any other change.
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

impl std::error::Error for PersistError {
    #[cfg(not(target_family = "wasm"))]
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.detail().cause.get()
    }
}

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
