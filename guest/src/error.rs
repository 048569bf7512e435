//! The error type of the library.

use std::fmt;

pub use persist_model::ErrorCode;

/// A failed operation. Whatever was stored before is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The kind of failure.
    pub code: ErrorCode,
    /// Whether the same call may succeed later without any change.
    pub retryable: bool,
    /// The key that the operation was about, if any.
    pub key: Option<String>,
    /// One sentence for people: what failed and where.
    pub message: String,
    /// Further facts, as names and values.
    pub details: Vec<(String, String)>,
}

/// The result of an operation of this library.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Creates an error that is not retryable and has no key yet.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::with_text(code, message.into())
    }

    #[cold]
    #[inline(never)]
    fn with_text(code: ErrorCode, message: String) -> Self {
        Self { code, retryable: false, key: None, message, details: Vec::new() }
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.details.push(detail(name, &value));
        self
    }

    /// Sets the key, unless there already is one.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn at(mut self, key: &str) -> Self {
        self.key.get_or_insert_with(|| key.to_owned());
        self
    }

    /// Whether the error is about what is stored, and not about the storage.
    pub(crate) fn is_damage(&self) -> bool {
        use ErrorCode::{Integrity, InvalidFormat, LimitExceeded, NotASnapshot, NotFound, UnsupportedFormat, WrongKind};
        matches!(self.code, Integrity | InvalidFormat | LimitExceeded | NotASnapshot | NotFound | UnsupportedFormat | WrongKind)
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

    /// The storage returned fewer bytes than it says there are.
    pub(crate) fn short_read(found: u64, expected: u64) -> Self {
        let message = format!("the storage returned only {found} of {expected} bytes");
        Self { retryable: true, ..Self::new(ErrorCode::Io, message) }
    }
}

#[cold]
fn detail(name: &str, value: &dyn fmt::Display) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// The most characters that an error quotes from untrusted text.
const MAX_QUOTED: usize = 200;

/// Quotes untrusted text in an error: shortened, and with control characters escaped
/// so that it can't steer a terminal.
pub(crate) fn quoted(text: impl fmt::Display) -> String {
    shortened(&text.to_string())
}

fn shortened(text: &str) -> String {
    let mut quoted = String::new();
    for character in text.chars().take(MAX_QUOTED) {
        match character {
            '\'' | '"' => quoted.push(character),
            _ => quoted.extend(character.escape_debug()),
        }
    }
    if text.chars().nth(MAX_QUOTED).is_some() {
        quoted.push('…');
    }
    quoted
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
