//! `file://` URIs, and the schemes of locations.

use std::path::{Path, PathBuf};

use persist_model::{ErrorCode, PersistError, Result};

/// Returns the error for a location that is not valid.
pub(crate) fn invalid(text: &str, problem: &str) -> PersistError {
    PersistError::new(ErrorCode::InvalidArgument, format!("the location is not valid: {problem}"))
        .at(text.escape_debug())
        .hint("a location is a path, file:///path, s3://bucket/key or memory://key")
}

/// Returns whether text is a scheme by RFC 3986: a letter, then letters, digits, `+`, `-`
/// and `.`.
pub fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|next| next.is_ascii_alphanumeric() || matches!(next, '+' | '-' | '.'))
}

/// Returns the path of a `file://` URI: an absolute path on this machine, with `%xx`
/// decoded. `rest` is the part after `file://`, and `text` the whole URI for errors.
///
/// # Errors
/// `Configuration` for another machine, a path that is not absolute, or one that is not
/// UTF-8.
pub fn file_uri_path(text: &str, rest: &str) -> Result<PathBuf> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(invalid(text, "file:// must be followed by an absolute path, as in file:///srv/x.json.gz"));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next().unwrap_or_default(), rest.next().unwrap_or_default()];
        let value = std::str::from_utf8(&digits).ok().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let value = value.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.ok_or_else(|| invalid(text, "% must be followed by two hexadecimal digits"))?);
    }
    String::from_utf8(bytes).map(PathBuf::from).map_err(|_| invalid(text, "it is not UTF-8"))
}

/// Returns a path as a `file://` URL, which [`file_uri_path`] parses.
///
/// # Errors
/// `Io` if the path is relative and the current folder cannot be determined.
pub fn file_uri(path: &Path) -> Result<String> {
    let whole = std::path::absolute(path)
        .map_err(|error| PersistError::new(ErrorCode::Io, format!("could not make the path absolute: {error}")).at(path.display()))?;
    Ok(format!("file://{}", whole.display().to_string().replace('%', "%25")))
}
