//! The rules for keys, the same in every storage, and the names of files that
//! hold no object yet.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::error::{ErrorCode, PersistError, Result};

/// As in S3, the narrowest of the storages.
pub(crate) const MAX_KEY_BYTES: usize = 1024;

const TOO_LONG: &str = "a key has at most 1,024 bytes";

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

/// The largest folder, in bytes, that each write looks through.
const SMALL_FOLDER: u64 = 16 << 10;

/// Bytes of a larger folder that a write reads on average: with 16 KiB, a save into a
/// folder of 20,000 snapshots took 1.3 times as long as one into an empty folder.
const SWEPT_ON_AVERAGE: u64 = 4 << 10;

/// Whether a write into a folder looks for unfinished writes whose writers are
/// gone. `size` is that of the folder itself in bytes, which grows with the names
/// in it; `random` is a number that has any value. A small folder is always
/// swept. A large one is swept so seldom that a write reads less of it on average,
/// without anybody remembering when it was swept last.
pub fn is_swept(size: u64, random: u64) -> bool {
    size <= SMALL_FOLDER || random % size < SWEPT_ON_AVERAGE
}

/// The folder of a key, empty if it has none, and the name in it.
pub fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

/// The order of keys for people: numbers in them are compared as numbers.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    alphanumeric_sort::compare_str(a, b).then_with(|| a.cmp(b))
}

/// The folders that these keys are in, the deepest first, below `folder`, which ends with
/// `/` or is empty for the root.
pub fn folders_within<'a>(folder: &str, keys: &'a [String]) -> impl Iterator<Item = &'a str> {
    let mut folders = BTreeSet::new();
    for key in keys {
        let mut path = split(key).0;
        while path.len() >= folder.len() && !path.is_empty() && folders.insert(path) {
            path = split(path).0;
        }
    }
    folders.into_iter().rev()
}

/// The folder that a folder is in: both end with `/`, or are empty for the root.
pub fn folder_above(folder: &str) -> &str {
    let end = folder.trim_end_matches('/').rfind('/').map_or(0, |end| end + 1);
    folder.get(..end).unwrap_or_default()
}

/// The rule that a key breaks, if it breaks one.
pub fn problem(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("a key is not empty")
    } else if key.len() > MAX_KEY_BYTES {
        Some(TOO_LONG)
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

/// The rule that every key below a folder breaks, if there is one. The path ends
/// with `/`.
pub fn folder_problem(path: &str) -> Option<&'static str> {
    let longest = path.len() + 1;
    if longest > MAX_KEY_BYTES { Some(TOO_LONG) } else { file_problem(path.trim_end_matches('/')) }
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

    /// Whether this is one, whether or not it can be a key.
    pub fn has(&self, key: impl AsRef<[u8]>) -> bool {
        let key = key.as_ref();
        key.starts_with(self.prefix.as_bytes()) && self.start_after.is_none_or(|after| key > after.as_bytes())
    }

    /// Whether one may be among those that begin with `path`, a folder and a slash.
    pub fn may_be_below(&self, path: impl AsRef<[u8]>) -> bool {
        let (path, prefix) = (path.as_ref(), self.prefix.as_bytes());
        let in_prefix = path.starts_with(prefix) || prefix.starts_with(path);
        in_prefix && self.start_after.map(str::as_bytes).is_none_or(|after| path > after || after.starts_with(path))
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

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: u64 = 1_000_000;

    /// Numbers that are spread evenly over all.
    fn numbers() -> impl Iterator<Item = u64> {
        (0..NUMBERS).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn a_write_reads_as_much_of_a_folder_whatever_its_size() {
        for size in [0, 1, 4096, SMALL_FOLDER] {
            assert!(numbers().all(|random| is_swept(size, random)), "{size}");
        }
        for size in [SMALL_FOLDER + 1, 100 << 10, 1 << 20, 64 << 20] {
            let sweeps = numbers().filter(|random| is_swept(size, *random)).count() as f64;
            let read = sweeps / NUMBERS as f64 * size as f64;
            assert!((read / SWEPT_ON_AVERAGE as f64 - 1.0).abs() < 0.3, "{size}: {read} bytes");
        }
    }

    #[test]
    fn a_folder_is_too_long_once_no_key_fits_below_it() {
        let folder = |length: usize| format!("{}/", "f".repeat(length - 1));
        assert_eq!((folder_problem(&folder(1023)), problem(&format!("{}x", folder(1023)))), (None, None));
        assert_eq!((folder_problem(&folder(1024)), problem(&format!("{}x", folder(1024)))), (Some(TOO_LONG), Some(TOO_LONG)));
    }
}
