//! The rules for keys, the same in every storage.

use crate::error::{ErrorCode, PersistError, Result};

/// As in S3, the narrowest of the storages.
const MAX_KEY_BYTES: usize = 1024;

/// Checks a key by the rules that hold in every storage.
///
/// # Errors
/// `Configuration` that says which rule it breaks.
pub fn check_key(key: &str) -> Result<()> {
    let problem = if key.is_empty() {
        "a key is not empty"
    } else if key.len() > MAX_KEY_BYTES {
        "a key has at most 1,024 bytes"
    } else if key.chars().any(char::is_control) {
        "a key has no control characters"
    } else if key.starts_with('/') {
        "a key is not an absolute path"
    } else if key.split('/').any(|part| matches!(part, "." | "..")) {
        "no part of a key is '.' or '..'"
    } else if key.split('/').any(str::is_empty) {
        "no part of a key is empty"
    } else {
        return Ok(());
    };
    Err(PersistError::new(ErrorCode::InvalidKey, format!("the key is not valid: {problem}")).at(key.escape_debug()))
}
