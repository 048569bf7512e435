//! The rules for keys, which are the same in every storage, and the names of unfinished
//! files.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Duration;

use persist_model::{ErrorCode, PersistError, Result};

/// The maximum length of a key in bytes: the limit of S3, the strictest of the storages.
pub(crate) const MAX_KEY_BYTES: usize = 1024;

const TOO_LONG: &str = "it is longer than 1,024 bytes";

const TEMPORARY_PREFIX: &str = ".persist-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The part after the prefix in the name of a file that its writer has not locked.
const UNLOCKED: &str = "unlocked-";

/// Returns whether a file name is that of an unfinished write, by any host.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX)
}

/// Returns the name of a file that is being written. `random` makes it unique.
pub fn temporary_name(random: &str) -> String {
    format!("{TEMPORARY_PREFIX}{random}{TEMPORARY_SUFFIX}")
}

/// Like [`temporary_name`], for systems without file locks. Only the age of such a file
/// tells whether its writer is gone.
pub fn unlocked_temporary_name(random: &str) -> String {
    temporary_name(&format!("{UNLOCKED}{random}"))
}

/// Returns whether a file name is that of an unfinished write without a lock.
pub fn is_unlocked_temporary(name: &str) -> bool {
    is_temporary(name) && name.strip_prefix(TEMPORARY_PREFIX).is_some_and(|rest| rest.starts_with(UNLOCKED))
}

/// The age after which an unfinished write counts as abandoned where no lock can tell: on
/// some network file systems, in WASI, and in a bucket.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The maximum size in bytes of a folder that every write sweeps.
const SMALL_FOLDER: u64 = 16 << 10;

/// How many bytes of a larger folder a write reads on average. With 16 KiB, a save into a
/// folder of 20,000 snapshots took 1.3 times as long as one into an empty folder.
const SWEPT_ON_AVERAGE: u64 = 4 << 10;

/// Returns whether a write into a folder sweeps it, that is, looks for unfinished writes
/// whose writers are gone. `size` is the size of the folder itself in bytes, which grows
/// with its names, and `random` any random number. A small folder is always swept. A
/// large one is swept so rarely that a write reads less of it on average, without any
/// record of the last sweep.
pub fn is_swept(size: u64, random: u64) -> bool {
    size <= SMALL_FOLDER || random % size < SWEPT_ON_AVERAGE
}

/// Splits a key into its folder, which may be empty, and the name in it.
pub fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

/// Compares keys in natural order: numbers in them are compared as numbers.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    alphanumeric_sort::compare_str(a, b).then_with(|| a.cmp(b))
}

/// Returns the folders of these keys that are below `folder`, deepest first. `folder`
/// ends with `/` or is empty for the root.
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

/// Returns the parent of a folder. Both end with `/`, or are empty for the root.
pub fn folder_above(folder: &str) -> &str {
    let end = folder.trim_end_matches('/').rfind('/').map_or(0, |end| end + 1);
    folder.get(..end).unwrap_or_default()
}

/// Returns what is wrong with a key, if anything.
pub fn problem(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("it is empty")
    } else if key.len() > MAX_KEY_BYTES {
        Some(TOO_LONG)
    } else if key.chars().any(char::is_control) {
        Some("it contains control characters")
    } else if key.starts_with('/') {
        Some("it is an absolute path")
    } else if key.split('/').any(|part| matches!(part, "." | "..")) {
        Some("a part of it is '.' or '..'")
    } else if key.split('/').any(str::is_empty) {
        Some("a part of it is empty")
    } else {
        None
    }
}

/// Returns what is wrong with a key if objects are files.
pub fn file_problem(key: &str) -> Option<&'static str> {
    problem(key).or_else(|| key.split('/').any(is_temporary).then_some("names like this are reserved for unfinished writes"))
}

/// Returns what is wrong with every key below a folder, if anything. The path ends with
/// `/`.
pub fn folder_problem(path: &str) -> Option<&'static str> {
    let longest = path.len() + 1;
    if longest > MAX_KEY_BYTES { Some(TOO_LONG) } else { file_problem(path.trim_end_matches('/')) }
}

/// The range of keys that a listing wants.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The prefix of the keys.
    pub prefix: &'a str,
    /// The key after which the listing starts, in byte order.
    pub start_after: Option<&'a str>,
}

impl Wanted<'_> {
    /// Returns whether any valid key begins with the prefix. Check this before the prefix
    /// is given to a file system.
    pub fn is_possible(&self) -> bool {
        let (path, _) = split(self.prefix);
        path.is_empty() || file_problem(path).is_none()
    }

    /// Returns whether a name is in the range, even if it is not a valid key.
    pub fn has(&self, key: impl AsRef<[u8]>) -> bool {
        let key = key.as_ref();
        key.starts_with(self.prefix.as_bytes()) && self.start_after.is_none_or(|after| key > after.as_bytes())
    }

    /// Returns whether a key in the range may begin with `path`, a folder with a trailing
    /// slash.
    pub fn may_be_below(&self, path: impl AsRef<[u8]>) -> bool {
        let (path, prefix) = (path.as_ref(), self.prefix.as_bytes());
        let in_prefix = path.starts_with(prefix) || prefix.starts_with(path);
        in_prefix && self.start_after.map(str::as_bytes).is_none_or(|after| path > after || after.starts_with(path))
    }
}

/// Checks a key by the rules of every storage.
///
/// # Errors
/// `Configuration` with the rule that the key breaks.
pub fn check_key(key: &str) -> Result<()> {
    checked(key, problem(key))
}

/// Checks a key by the rules of storages whose objects are files.
///
/// # Errors
/// `Configuration` with the rule that the key breaks.
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

    /// Numbers that are spread evenly over all values.
    fn numbers() -> impl Iterator<Item = u64> {
        (0..NUMBERS).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn a_write_reads_the_same_amount_of_a_folder_whatever_its_size() {
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
