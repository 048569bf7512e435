//! JSON Pointers (RFC 6901), which say where a value is.

use crate::diff::cursor::Cursor;
use crate::diff::scan::{Fault, characters};
use crate::storage::Storage;

/// The longest name in a path, in bytes.
const MAX_NAME: usize = 64 << 10;

/// Reads the string here; `None` if it is too long for a path, or has a surrogate that is not
/// one of a pair.
pub(super) fn decoded<S: Storage>(cursor: &mut Cursor<S>) -> Result<Option<String>, Fault> {
    let mut name = Vec::new();
    characters(cursor, &mut |bytes| {
        // The rest of a name that is too long is not needed.
        if name.len() <= MAX_NAME {
            name.extend_from_slice(bytes.get(..MAX_NAME + 1).unwrap_or(bytes));
        }
    })?;
    Ok(if name.len() > MAX_NAME { None } else { String::from_utf8(name).ok() })
}

/// Appends a name to a path.
pub(super) fn push_name(path: &mut String, name: &str) {
    path.push('/');
    for character in name.chars() {
        match character {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            character => path.push(character),
        }
    }
}

/// Appends a position to a path.
pub(super) fn push_index(path: &mut String, index: u64) {
    path.push('/');
    path.push_str(&index.to_string());
}
