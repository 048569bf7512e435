//! The rules for keys, the same in every storage, and the names of files that
//! hold no object yet.

use crate::error::{ErrorCode, PersistError, Result};

/// As in S3, the narrowest of the storages.
const MAX_KEY_BYTES: usize = 1024;

const TEMPORARY_PREFIX: &str = ".persist-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// What follows the prefix in the name of a file whose writer holds no lock on it.
const UNLOCKED: &str = "unlocked-";

/// Whether a file name is that of an unfinished write, of any host.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX)
}

/// The name of a file that is being written: `random` is text for a file name
/// that no other has.
pub fn temporary_name(random: &str) -> String {
    format!("{TEMPORARY_PREFIX}{random}{TEMPORARY_SUFFIX}")
}

/// The same where files can't be locked: whether the writer is gone, only the
/// age of such a file can tell.
pub fn unlocked_temporary_name(random: &str) -> String {
    temporary_name(&format!("{UNLOCKED}{random}"))
}

/// Whether a file name is that of an unfinished write on which its writer holds
/// no lock.
pub fn is_unlocked_temporary(name: &str) -> bool {
    is_temporary(name) && name.strip_prefix(TEMPORARY_PREFIX).is_some_and(|rest| rest.starts_with(UNLOCKED))
}

/// The folder of a key, empty if it has none, and the name in it.
pub fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

/// The rule that a key breaks, if it breaks one.
pub fn problem(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("a key is not empty")
    } else if key.len() > MAX_KEY_BYTES {
        Some("a key has at most 1,024 bytes")
    } else if key.chars().any(char::is_control) {
        Some("a key has no control characters")
    } else if key.starts_with('/') {
        Some("a key is not an absolute path")
    } else if key.split('/').any(|part| matches!(part, "." | "..")) {
        Some("no part of a key is '.' or '..'")
    } else if key.split('/').any(str::is_empty) {
        Some("no part of a key is empty")
    } else {
        None
    }
}

/// The rule that a key breaks where objects are files.
pub fn file_problem(key: &str) -> Option<&'static str> {
    problem(key).or_else(|| key.split('/').any(is_temporary).then_some("names like this are kept for unfinished writes"))
}

/// Which keys of files a listing wants.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What they begin with.
    pub prefix: &'a str,
    /// What they come after, in the order of their bytes.
    pub start_after: Option<&'a str>,
}

impl Wanted<'_> {
    /// Whether a key may begin with the prefix. It may not be handed to a file
    /// system before that is known.
    pub fn is_possible(&self) -> bool {
        let (path, _) = split(self.prefix);
        path.is_empty() || file_problem(path).is_none()
    }

    /// Whether this is one.
    pub fn has(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && self.start_after.is_none_or(|after| key > after) && file_problem(key).is_none()
    }

    /// Whether one may be among those that begin with `path`, a folder and a slash.
    pub fn may_be_below(&self, path: &str) -> bool {
        let in_prefix = path.starts_with(self.prefix) || self.prefix.starts_with(path);
        in_prefix && self.start_after.is_none_or(|after| path > after || after.starts_with(path))
    }
}

/// Checks a key by the rules that hold in every storage.
///
/// # Errors
/// `Configuration` that says which rule it breaks.
pub fn check_key(key: &str) -> Result<()> {
    checked(key, problem(key))
}

/// Checks a key by the rules that hold where objects are files.
///
/// # Errors
/// `Configuration` that says which rule it breaks.
pub fn check_file_key(key: &str) -> Result<()> {
    checked(key, file_problem(key))
}

fn checked(key: &str, problem: Option<&str>) -> Result<()> {
    match problem {
        None => Ok(()),
        Some(problem) => Err(PersistError::new(ErrorCode::InvalidKey, format!("the key is not valid: {problem}")).at(key.escape_debug())),
    }
}
