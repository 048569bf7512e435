//! The rules for keys, and the names of unfinished writes.

use crate::component::wit::{Error, ErrorCode};
use crate::failure::error;

/// As in S3, the narrowest of the storages.
const MAX_KEY_BYTES: usize = 1024;

const TEMPORARY_PREFIX: &str = ".persist-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// Whether a file name is that of an unfinished write, of any host.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX)
}

/// A name for a file that is being written.
pub(crate) fn temporary_name() -> String {
    let random = wasip2::random::random::get_random_u64();
    format!("{TEMPORARY_PREFIX}{random:016x}{TEMPORARY_SUFFIX}")
}

/// The folder of a key, and the name in it.
pub(crate) fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

/// Checks a key by the rules of the contract.
pub(crate) fn check(key: &str) -> Result<(), Error> {
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
    } else if key.split('/').any(is_temporary) {
        "names like this are kept for unfinished writes"
    } else {
        return Ok(());
    };
    Err(error(ErrorCode::InvalidKey, format!("the key is not valid: {problem}")))
}
