//! One error for everything, with a code to act on and a sentence to read.

use std::fmt;

/// The kind of a failure. Its text form, in kebab case, is what the command
/// prints in JSON and what Python gives as `.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// An argument or a setting is wrong.
    InvalidArgument,
    /// The key breaks a rule, or leads to something that is not an object.
    InvalidKey,
    /// No object has this key.
    NotFound,
    /// The object was not to exist, and does.
    AlreadyExists,
    /// The object is not the one expected, or changed meanwhile.
    PreconditionFailed,
    /// A snapshot, but not as it was written.
    Integrity,
    /// Something else than a snapshot.
    NotASnapshot,
    /// A snapshot that breaks the rules of its format, or the beginning of one.
    InvalidFormat,
    /// A snapshot of a newer format.
    UnsupportedFormat,
    /// Credentials are missing, expired or wrong.
    Credentials,
    /// The credentials, or the permissions of a file, do not allow this.
    AccessDenied,
    /// The bucket does not exist.
    NoSuchBucket,
    /// The storage cannot do this, ever.
    Unsupported,
    /// The storage's service refused this; the hint says why.
    Refused,
    /// The storage could not be reached.
    Unavailable,
    /// The storage took too long.
    Timeout,
    /// The storage is full.
    NoSpace,
    /// Reading or writing failed.
    Io,
    /// More than the component takes: a table or state that is too large.
    LimitExceeded,
    /// The component wanted more memory than it may have.
    MemoryLimit,
    /// The component computed for longer than it may.
    Deadline,
    /// The operation was stopped from outside.
    Cancelled,
    /// Anything else.
    Other,
}

impl ErrorCode {
    /// The code as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid-argument",
            Self::InvalidKey => "invalid-key",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::PreconditionFailed => "precondition-failed",
            Self::Integrity => "integrity",
            Self::NotASnapshot => "not-a-snapshot",
            Self::InvalidFormat => "invalid-format",
            Self::UnsupportedFormat => "unsupported-format",
            Self::Credentials => "credentials",
            Self::AccessDenied => "access-denied",
            Self::NoSuchBucket => "no-such-bucket",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::NoSpace => "no-space",
            Self::Io => "io",
            Self::LimitExceeded => "limit-exceeded",
            Self::MemoryLimit => "memory-limit",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Other => "other",
        }
    }
}

impl ErrorCode {
    /// What to do about a snapshot that can't be read.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::Integrity | Self::InvalidFormat => Some("take another copy, or see what 'persist salvage' can get"),
            Self::NotASnapshot => Some("check the path: this is another kind of file"),
            Self::UnsupportedFormat => Some("update persist"),
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

/// The facts of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorDetail {
    /// The kind of failure.
    pub code: ErrorCode,
    /// One sentence: what failed. Never a secret; a bucket's name only where it
    /// is the bucket that is missing.
    pub message: String,
    /// Where: a path, `s3://bucket/key`.
    pub location: Option<String>,
    /// Whether the same call may succeed later with nothing else changed.
    pub retryable: bool,
    /// What to do about it.
    pub hint: Option<String>,
    /// Further facts as name and value: expected and found hashes, a request id.
    pub facts: Vec<(String, String)>,
}

/// What every operation of this library fails with.
///
/// The variants group the codes the way callers act on them; [`code`] tells
/// more. `Display` gives a kind and the message; location and hint are for the
/// caller to add.
///
/// [`code`]: PersistError::code
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PersistError {
    /// An argument, a key or a setting is wrong.
    Configuration(Box<ErrorDetail>),
    /// No such snapshot.
    NotFound(Box<ErrorDetail>),
    /// The snapshot was not to exist, and does.
    AlreadyExists(Box<ErrorDetail>),
    /// Somebody else changed it.
    Conflict(Box<ErrorDetail>),
    /// A damaged snapshot.
    Integrity(Box<ErrorDetail>),
    /// Not a snapshot, or one of a newer format.
    InvalidFormat(Box<ErrorDetail>),
    /// Credentials are missing, expired or wrong.
    Credentials(Box<ErrorDetail>),
    /// Not allowed.
    AccessDenied(Box<ErrorDetail>),
    /// The bucket is missing, or the storage can't do what was asked.
    CloudStorage(Box<ErrorDetail>),
    /// Network or disk failed.
    StorageIO(Box<ErrorDetail>),
    /// A limit of the sandbox was reached.
    ResourceLimit(Box<ErrorDetail>),
    /// Anything else.
    Other(Box<ErrorDetail>),
}

/// The result of an operation of this library.
pub type Result<T, E = PersistError> = std::result::Result<T, E>;

impl PersistError {
    /// An error of this code, in the variant that the code belongs to.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let retryable = matches!(code, ErrorCode::Unavailable | ErrorCode::Timeout);
        Self::from_detail(ErrorDetail { code, message: message.into(), location: None, retryable, hint: None, facts: Vec::new() })
    }

    /// The error with these facts, in the variant that its code belongs to.
    pub fn from_detail(detail: ErrorDetail) -> Self {
        let detail = Box::new(detail);
        match detail.code {
            ErrorCode::InvalidArgument | ErrorCode::InvalidKey => Self::Configuration(detail),
            ErrorCode::NotFound => Self::NotFound(detail),
            ErrorCode::AlreadyExists => Self::AlreadyExists(detail),
            ErrorCode::PreconditionFailed => Self::Conflict(detail),
            ErrorCode::Integrity => Self::Integrity(detail),
            ErrorCode::NotASnapshot | ErrorCode::InvalidFormat | ErrorCode::UnsupportedFormat => Self::InvalidFormat(detail),
            ErrorCode::Credentials => Self::Credentials(detail),
            ErrorCode::AccessDenied => Self::AccessDenied(detail),
            ErrorCode::NoSuchBucket | ErrorCode::Unsupported | ErrorCode::Refused => Self::CloudStorage(detail),
            ErrorCode::Unavailable | ErrorCode::Timeout | ErrorCode::NoSpace | ErrorCode::Io => Self::StorageIO(detail),
            ErrorCode::LimitExceeded | ErrorCode::MemoryLimit | ErrorCode::Deadline => Self::ResourceLimit(detail),
            ErrorCode::Cancelled | ErrorCode::Other => Self::Other(detail),
        }
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

    /// All facts of the failure.
    pub fn detail(&self) -> &ErrorDetail {
        match self {
            Self::Configuration(detail)
            | Self::NotFound(detail)
            | Self::AlreadyExists(detail)
            | Self::Conflict(detail)
            | Self::Integrity(detail)
            | Self::InvalidFormat(detail)
            | Self::Credentials(detail)
            | Self::AccessDenied(detail)
            | Self::CloudStorage(detail)
            | Self::StorageIO(detail)
            | Self::ResourceLimit(detail)
            | Self::Other(detail) => detail,
        }
    }

    /// All facts of the failure, to add to them.
    pub fn detail_mut(&mut self) -> &mut ErrorDetail {
        match self {
            Self::Configuration(detail)
            | Self::NotFound(detail)
            | Self::AlreadyExists(detail)
            | Self::Conflict(detail)
            | Self::Integrity(detail)
            | Self::InvalidFormat(detail)
            | Self::Credentials(detail)
            | Self::AccessDenied(detail)
            | Self::CloudStorage(detail)
            | Self::StorageIO(detail)
            | Self::ResourceLimit(detail)
            | Self::Other(detail) => detail,
        }
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

    /// What the command exits with: 2 to 9 by variant, 1 for anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::NotFound(_) => 3,
            Self::AlreadyExists(_) | Self::Conflict(_) => 4,
            Self::Integrity(_) | Self::InvalidFormat(_) => 5,
            Self::Credentials(_) | Self::AccessDenied(_) => 6,
            Self::CloudStorage(_) => 7,
            Self::StorageIO(_) => 8,
            Self::ResourceLimit(_) => 9,
            Self::Other(_) => 1,
        }
    }
}

impl fmt::Display for PersistError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Configuration(_) => "Configuration error",
            Self::NotFound(_) => "Not found",
            Self::AlreadyExists(_) => "Already exists",
            Self::Conflict(_) => "Conflict",
            Self::Integrity(_) => "Integrity error",
            Self::InvalidFormat(_) => "Format error",
            Self::Credentials(_) | Self::AccessDenied(_) | Self::CloudStorage(_) => "Storage error",
            Self::StorageIO(_) => "Storage I/O error",
            Self::ResourceLimit(_) => "Resource limit",
            Self::Other(detail) => return f.write_str(&detail.message),
        };
        write!(f, "{kind}: {}", self.detail().message)
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
            ErrorCode::Integrity | ErrorCode::NotASnapshot | ErrorCode::InvalidFormat | ErrorCode::UnsupportedFormat => {
                ErrorKind::InvalidData
            }
            ErrorCode::InvalidArgument | ErrorCode::InvalidKey => ErrorKind::InvalidInput,
            ErrorCode::MemoryLimit => ErrorKind::OutOfMemory,
            ErrorCode::NoSpace => ErrorKind::StorageFull,
            ErrorCode::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
