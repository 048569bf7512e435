//! One error type for everything the library does.

use std::fmt;

pub use persist_model::ErrorCode;

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

    /// The storage said that there is more than it gives.
    pub(crate) fn short_read(found: u64, expected: u64) -> Self {
        let message = format!("the storage gave {found} bytes where it has {expected}");
        Self { retryable: true, ..Self::new(ErrorCode::Io, message) }
    }
}

/// The most characters that an error quotes of what may come from a stranger.
const MAX_QUOTED: usize = 200;

/// A text of whatever origin, for an error: of bounded length, and without what
/// would steer a terminal.
pub(crate) fn quoted(text: impl fmt::Display) -> String {
    let text = text.to_string();
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
