//! One error type for everything the library does.

use std::fmt;

/// The kind of a failure, to act on. The same set as `snapshots.error-code` in
/// the WIT contract, where each is documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "documented once, in wit/snapshots.wit")]
pub enum ErrorCode {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    PreconditionFailed,
    Integrity,
    NotASnapshot,
    InvalidFormat,
    UnsupportedFormat,
    LimitExceeded,
    AccessDenied,
    Credentials,
    NoSuchBucket,
    InvalidKey,
    Unavailable,
    Timeout,
    NoSpace,
    Unsupported,
    Io,
    Other,
}

/// A failed operation. Nothing that was stored before is lost by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The kind of failure.
    pub code: ErrorCode,
    /// Whether the same call may succeed later with nothing else changed.
    pub retryable: bool,
    /// The key the operation was about, where there is one.
    pub key: Option<String>,
    /// One sentence for a person: what failed and where.
    pub message: String,
    /// Further facts as name and value.
    pub details: Vec<(String, String)>,
}

/// The result of an operation of this library.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of this code, not worth retrying, about no key yet.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, retryable: false, key: None, message: message.into(), details: Vec::new() }
    }

    /// The same error with one more fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.details.push((name.to_owned(), value.to_string()));
        self
    }

    /// The same error, about this key unless it already names one.
    #[must_use]
    pub fn at(mut self, key: &str) -> Self {
        self.key.get_or_insert_with(|| key.to_owned());
        self
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
    }

    pub(crate) fn integrity(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Integrity, message)
    }

    pub(crate) fn format(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidFormat, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: {}", key, self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}
