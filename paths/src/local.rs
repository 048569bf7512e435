//! Paths of local files as users write them: as in a shell, or confined to a base folder.

use std::path::Path;

use persist_model::{ErrorCode, PersistError, Result};

use crate::key::{MAX_KEY_BYTES, check_key, is_temporary, problem};
use crate::links::{check_folder_to_write, folder_of};
use crate::location::StorageLocation;

/// Checks the path of a snapshot to write. A snapshot whose path is not a valid key could
/// not be listed afterwards.
///
/// # Errors
/// `InvalidKey` with the rule that the path breaks.
/// Refuses a path that is below a file.
fn check_not_below_file(path: &Path) -> Result<()> {
    match path.ancestors().find_map(|path| path.metadata().ok()) {
        Some(found) if !found.is_dir() => {
            let error = PersistError::new(ErrorCode::InvalidKey, "a parent of the path is a file, not a folder");
            Err(error.at(path.display()).hint("give another folder"))
        }
        _ => Ok(()),
    }
}

fn check_to_write(path: &Path) -> Result<()> {
    let text = path.to_str();
    let problem = match text {
        None => Some("it is not UTF-8"),
        // The rules for keys, except those that paths may break.
        Some(text) => problem(text).filter(|_| text.len() > MAX_KEY_BYTES || text.chars().any(char::is_control)),
    };
    let is_unfinished =
        || text.is_some_and(|text| text.split('/').any(is_temporary)).then_some("names like this are reserved for unfinished writes");
    let Some(problem) = problem.or_else(is_unfinished) else { return Ok(()) };
    Err(PersistError::new(ErrorCode::InvalidKey, format!("a snapshot at this path would not be listable: {problem}"))
        .at(path.to_string_lossy().escape_debug())
        .hint("choose another name; if the path is too long, change to its folder first"))
}

/// How paths of local files are interpreted: as in a shell, or confined to a base folder.
#[derive(Clone, Copy, Debug)]
pub struct LocalPaths<'a> {
    base: Option<&'a Path>,
}

impl<'a> LocalPaths<'a> {
    /// Creates the rules for paths below a base folder, or as in a shell if there is
    /// none.
    pub fn below(base: Option<&'a Path>) -> Self {
        Self { base }
    }

    /// Returns the location of a file.
    ///
    /// # Errors
    /// `Configuration` if the path does not name a file or is not below the base.
    pub fn locate(self, path: &Path) -> Result<StorageLocation> {
        let Some(base) = self.base else { return StorageLocation::from_path(path) };
        if path.is_absolute() {
            // The form that listings and errors print.
            return self.locate_whole(path);
        }
        // A name that begins with a hyphen is written ./-x, since -x would be an option.
        let path = path.strip_prefix(".").unwrap_or(path);
        let key = path
            .to_str()
            .ok_or_else(|| PersistError::new(ErrorCode::InvalidKey, "a path below PERSIST_LOCAL_PATH must be UTF-8").at(path.display()))?;
        check_key(key).map_err(|error| error.hint("with PERSIST_LOCAL_PATH set, a location is a path below that folder"))?;
        Ok(StorageLocation::Local { root: base.to_owned(), key: key.to_owned() })
    }

    /// Returns the location of a file given by its full path, including the base.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate).
    pub fn locate_whole(self, path: &Path) -> Result<StorageLocation> {
        let Some(base) = self.base else { return StorageLocation::from_path(path) };
        let key = path.strip_prefix(base).ok().and_then(Path::to_str).ok_or_else(|| not_below(path))?;
        check_key(key)?;
        Ok(StorageLocation::Local { root: base.to_owned(), key: key.to_owned() })
    }

    /// Follows a symlink, for reading or writing. Keys below a base stay as they are: the
    /// storage follows their links and confines them to the base.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate).
    pub fn followed(self, location: StorageLocation) -> Result<StorageLocation> {
        match location {
            StorageLocation::Local { root, key } if self.base.is_none() => StorageLocation::from_path_followed(&root.join(key)),
            location => Ok(location),
        }
    }

    /// Formats a location as text that [`locate`](Self::locate) parses and that can be an
    /// argument of a command: a leading hyphen is escaped.
    pub fn written(self, location: &StorageLocation) -> String {
        // A key joined to a relative base would be interpreted relative to the base
        // again.
        let text = match (location, self.base) {
            (StorageLocation::Local { root, key }, Some(base)) if root == base && base.is_relative() => key.clone(),
            _ => location.to_string(),
        };
        if text.starts_with('-') { format!("./{text}") } else { text }
    }

    /// Follows a symlink, for writing a snapshot. A path that no listing could return is
    /// refused.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate), `InvalidKey` for a path that no listing could
    /// return, and `AccessDenied` for a link that belongs to another user.
    pub fn to_write(self, location: StorageLocation) -> Result<StorageLocation> {
        match location {
            StorageLocation::Local { root, key } if self.base.is_none() => {
                let path = root.join(key);
                check_to_write(&path)?;
                StorageLocation::from_path_to_write(&path)
            }
            location => Ok(location),
        }
    }

    /// Checks a folder to write snapshots to.
    ///
    /// # Errors
    /// `InvalidKey` for a path that no listing could return, or that is below a file, and
    /// `AccessDenied` if the folder or its parent is a link that belongs to another user.
    pub fn folder_to_write(self, folder: StorageLocation) -> Result<StorageLocation> {
        if let StorageLocation::Local { root, key } = &folder {
            check_not_below_file(&root.join(key))?;
        }
        if let (StorageLocation::Local { root, .. }, None) = (&folder, self.base) {
            check_to_write(root)?;
            check_folder_to_write(root)?;
            check_folder_to_write(folder_of(root))?;
        }
        Ok(folder)
    }

    /// Returns the location of a folder given by its full path; see
    /// [`folder`](Self::folder).
    ///
    /// # Errors
    /// Those of [`folder`](Self::folder).
    pub fn whole_folder(self, path: &Path, has_to_exist: bool) -> Result<StorageLocation> {
        let below = self.base.map_or(Ok(path), |base| path.strip_prefix(base).map_err(|_| not_below(path)))?;
        self.folder(below, has_to_exist)
    }

    /// Returns the location of a folder: the folder as the root, or below a base the
    /// prefix of its keys.
    ///
    /// # Errors
    /// `Configuration` if the path is not a folder, and `NotFound` if it has to exist and
    /// does not.
    pub fn folder(self, path: &Path, has_to_exist: bool) -> Result<StorageLocation> {
        let (root, prefix) = match self.base {
            None => (path, String::new()),
            Some(base) => {
                let path = path.strip_prefix(base).unwrap_or(path);
                let prefix = folder_prefix(path.to_str().ok_or_else(|| not_below(path))?);
                if !prefix.is_empty() {
                    check_key(prefix.trim_end_matches('/'))?;
                }
                (base, prefix)
            }
        };
        let wrong = |code, problem: &str, hint: &str| Err(PersistError::new(code, problem).at(path.display()).hint(hint));
        // Joining an empty prefix would append a slash, which fails for a file.
        let folder = if prefix.is_empty() { root.to_owned() } else { root.join(prefix.trim_end_matches('/')) };
        match folder.metadata() {
            Ok(metadata) if !metadata.is_dir() => {
                return wrong(
                    ErrorCode::InvalidArgument,
                    "this is a file, not a folder",
                    "give a folder; for a single file, use 'persist show'",
                );
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return wrong(ErrorCode::AccessDenied, "access denied to the folder", "check its permissions");
            }
            Err(_) if has_to_exist => return wrong(ErrorCode::NotFound, "there is no such folder", "check the path"),
            _ => {}
        }
        Ok(StorageLocation::Local { root: root.to_owned(), key: prefix })
    }
}

/// Returns the prefix of the keys in a folder: empty, or text that ends with `/`.
pub fn folder_prefix(key: &str) -> String {
    let key = key.trim_end_matches('/');
    if matches!(key, "" | ".") { String::new() } else { format!("{key}/") }
}

fn not_below(path: &Path) -> PersistError {
    PersistError::new(ErrorCode::InvalidKey, "the path is not below PERSIST_LOCAL_PATH")
        .at(path.display())
        .hint("give a path below that folder")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_not_written_where_it_could_not_be_listed() {
        let long = format!("{}/x.gz", [&*"n".repeat(200); 6].join("/"));
        let paths = LocalPaths::below(None);
        for path in [long.as_str(), &format!("/{long}"), "a/b\nc/x.gz", "a/x\u{7f}.gz", ".persist-1.tmp", "a/.persist-1.tmp/x.gz"] {
            let location = paths.locate(Path::new(path)).expect("it can be read and deleted");
            assert_eq!(paths.followed(location.clone()).expect("it can be read").to_string(), path);
            let error = paths.to_write(location).expect_err(path);
            assert_eq!((error.code(), error.detail().hint.is_some()), (ErrorCode::InvalidKey, true), "{path}: {error}");
        }
        let exact = format!("{}/{}", [&*"n".repeat(200); 5].join("/"), "x".repeat(1024 - 5 * 201));
        for path in ["x.gz", "./x.gz", "../x.gz", "/srv//x.gz", ".persist/x.tmp", "é.gz", &exact] {
            paths.to_write(paths.locate(Path::new(path)).expect(path)).expect(path);
        }
    }

    #[cfg(unix)]
    #[test]
    fn no_snapshot_is_written_to_a_folder_that_is_not_utf8() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"a\xff/x.gz"));
        let paths = LocalPaths::below(None);
        assert_eq!(paths.to_write(paths.locate(path).unwrap()).expect_err("it is not UTF-8").code(), ErrorCode::InvalidKey);
    }
}
