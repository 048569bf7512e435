//! Where a snapshot is.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{ErrorCode, PersistError, Result};
use crate::key::check_key;

/// How often a symlink is followed before it is taken for a circle.
const MAX_LINKS: usize = 40;

/// Where one snapshot is: a path, `file://…`, `s3://bucket/key` or `memory://key`.
///
/// A plain path opens as a shell would open it: its parent folder is the root,
/// its name the key, and links on the way are the user's own business. Only
/// keys inside a root are confined to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageLocation {
    /// A file.
    Local {
        /// The folder that the key is confined to; empty for the current one.
        root: PathBuf,
        /// The path below the root.
        key: String,
    },
    /// An object in a bucket.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The object's key.
        key: String,
    },
    /// An object in the memory of this process.
    Memory {
        /// The object's key.
        key: String,
    },
}

fn invalid(text: &str, problem: &str) -> PersistError {
    PersistError::new(ErrorCode::InvalidArgument, format!("the location is not valid: {problem}"))
        .at(text.escape_debug())
        .hint("a location is a path, file:///path, s3://bucket/key or memory://key")
}

impl StorageLocation {
    /// Reads a location.
    ///
    /// # Errors
    /// `Configuration` for an unknown scheme, a missing part, or a path that
    /// names a folder.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once("://") {
            Some(("file", rest)) => Self::from_path(&file_uri_path(text, rest)?),
            Some(("s3", rest)) => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() || key.is_empty() {
                    return Err(invalid(text, "it needs a bucket and a key"));
                }
                Ok(Self::S3 { bucket: bucket.to_owned(), key: key.to_owned() })
            }
            Some(("memory", "")) => Err(invalid(text, "it needs a key")),
            Some(("memory", key)) => Ok(Self::Memory { key: key.to_owned() }),
            Some((scheme, _)) if is_scheme(scheme) => Err(invalid(text, &format!("the scheme '{scheme}' is not known"))),
            _ => Self::from_path(Path::new(text)),
        }
    }

    /// The location of a file.
    ///
    /// # Errors
    /// `Configuration` for a path without a file name, or whose name is not UTF-8.
    pub fn from_path(path: &Path) -> Result<Self> {
        let text = path.to_string_lossy();
        if text.is_empty() {
            return Err(invalid(&text, "it is empty"));
        }
        if text == "-" {
            return Err(invalid(&text, "- is stdin or stdout, not a place; a file of this name is ./-"));
        }
        if text.contains('\0') {
            return Err(invalid(&text, "a path has no NUL"));
        }
        let name = path.file_name().filter(|_| !text.ends_with('/')).ok_or_else(|| invalid(&text, "it names a folder, not a file"))?;
        let key = name.to_str().ok_or_else(|| invalid(&text, "the file's name is not UTF-8"))?;
        Ok(Self::Local { root: path.parent().unwrap_or(Path::new("")).to_owned(), key: key.to_owned() })
    }

    /// The location of the file that a path leads to: where it names a link,
    /// what the link leads to, as in a shell that reads or writes (but not one
    /// that deletes). A circle of links means the link itself.
    ///
    /// # Errors
    /// Those of [`from_path`](Self::from_path).
    pub fn from_path_followed(path: &Path) -> Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Ok(target) = std::fs::read_link(&path) else { break };
            path = path.parent().unwrap_or(Path::new("")).join(target);
        }
        Self::from_path(&path)
    }

    /// The location of this key in the same storage.
    #[must_use]
    pub fn with_key(mut self, new: &str) -> Self {
        let (Self::Local { key, .. } | Self::S3 { key, .. } | Self::Memory { key }) = &mut self;
        new.clone_into(key);
        self
    }

    /// The name of the object inside its storage.
    pub fn key(&self) -> &str {
        match self {
            Self::Local { key, .. } | Self::S3 { key, .. } | Self::Memory { key } => key,
        }
    }
}

/// How paths of local files are read: as in a shell, or below a base folder that
/// they are confined to.
#[derive(Clone, Copy, Debug)]
pub struct LocalPaths<'a> {
    base: Option<&'a Path>,
}

impl<'a> LocalPaths<'a> {
    /// Paths below a base folder, or as in a shell if there is none.
    pub fn below(base: Option<&'a Path>) -> Self {
        Self { base }
    }

    /// The location of a file.
    ///
    /// # Errors
    /// `Configuration` for what names no file, or is not below the base.
    pub fn locate(self, path: &Path) -> Result<StorageLocation> {
        let Some(base) = self.base else { return StorageLocation::from_path(path) };
        if path.is_absolute() {
            // As the location of a snapshot says it.
            return self.locate_whole(path);
        }
        // What begins with a hyphen is written ./-x, or it would be an option.
        let path = path.strip_prefix(".").unwrap_or(path);
        let key = path.to_str().ok_or_else(|| {
            PersistError::new(ErrorCode::InvalidKey, "a path below PERSIST_LOCAL_PATH has to be UTF-8").at(path.display())
        })?;
        check_key(key).map_err(|error| error.hint("with PERSIST_LOCAL_PATH set, a location is a path below that folder"))?;
        Ok(StorageLocation::Local { root: base.to_owned(), key: key.to_owned() })
    }

    /// The location of a file whose path was given whole.
    ///
    /// # Errors
    /// As [`locate`](Self::locate).
    pub fn locate_whole(self, path: &Path) -> Result<StorageLocation> {
        let Some(base) = self.base else { return StorageLocation::from_path(path) };
        let key = path.strip_prefix(base).ok().and_then(Path::to_str).ok_or_else(|| not_below(path))?;
        check_key(key)?;
        Ok(StorageLocation::Local { root: base.to_owned(), key: key.to_owned() })
    }

    /// The location for who reads or writes: a path that names a link means what
    /// the link leads to. Keys below a base stay as they are, since no link leads
    /// out of it.
    ///
    /// # Errors
    /// As [`locate`](Self::locate).
    pub fn followed(self, location: StorageLocation) -> Result<StorageLocation> {
        match location {
            StorageLocation::Local { root, key } if self.base.is_none() => StorageLocation::from_path_followed(&root.join(key)),
            location => Ok(location),
        }
    }

    /// A location as the text that [`locate`](Self::locate) reads back, fit to be an
    /// argument of a command: what begins with a hyphen would be an option.
    pub fn written(self, location: &StorageLocation) -> String {
        // Joined to a base that is relative itself, a key would be sought below both.
        let text = match (location, self.base) {
            (StorageLocation::Local { root, key }, Some(base)) if root == base && base.is_relative() => key.clone(),
            _ => location.to_string(),
        };
        if text.starts_with('-') { format!("./{text}") } else { text }
    }

    /// A folder that was given whole; see [`folder`](Self::folder).
    ///
    /// # Errors
    /// As [`folder`](Self::folder).
    pub fn whole_folder(self, path: &Path, has_to_exist: bool) -> Result<StorageLocation> {
        let below = self.base.map_or(Ok(path), |base| path.strip_prefix(base).map_err(|_| not_below(path)))?;
        self.folder(below, has_to_exist)
    }

    /// A folder: its own root, or what keys in it begin with below the base.
    ///
    /// # Errors
    /// `Configuration` for what is no folder, `NotFound` for one that has to exist
    /// and does not.
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
        // Joined to nothing, a path gets a slash, which a file can't have.
        let folder = if prefix.is_empty() { root.to_owned() } else { root.join(prefix.trim_end_matches('/')) };
        match folder.metadata() {
            Ok(metadata) if !metadata.is_dir() => {
                return wrong(
                    ErrorCode::InvalidArgument,
                    "this is a file, not a folder",
                    "give a folder here; 'persist show' looks at one file",
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

/// What the keys of a folder begin with: nothing, or a text that ends with `/`.
pub fn folder_prefix(key: &str) -> String {
    let key = key.trim_end_matches('/');
    if matches!(key, "" | ".") { String::new() } else { format!("{key}/") }
}

fn not_below(path: &Path) -> PersistError {
    PersistError::new(ErrorCode::InvalidKey, "the path is not below PERSIST_LOCAL_PATH")
        .at(path.display())
        .hint("give a path below that folder")
}

/// RFC 3986: a letter, then letters, digits, `+`, `-` and `.`.
pub fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|next| next.is_ascii_alphanumeric() || matches!(next, '+' | '-' | '.'))
}

/// The path of `file://` and what follows: an absolute path on this machine,
/// in which `%20` stands for a space and so on. `text` is the whole, for errors.
///
/// # Errors
/// `Configuration` for another machine, a path that is not absolute, and what is
/// no UTF-8.
pub fn file_uri_path(text: &str, rest: &str) -> Result<PathBuf> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(invalid(text, "after file:// comes an absolute path, as in file:///srv/x.json.gz"));
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
        bytes.push(value.ok_or_else(|| invalid(text, "after % come two hexadecimal digits"))?);
    }
    String::from_utf8(bytes).map(PathBuf::from).map_err(|_| invalid(text, "it is not UTF-8"))
}

/// A path as a `file://` URL, which [`file_uri_path`] reads back.
///
/// # Errors
/// `Io` if the path is relative and there is no current folder.
pub fn file_uri(path: &Path) -> Result<String> {
    let whole = std::path::absolute(path)
        .map_err(|error| PersistError::new(ErrorCode::Io, format!("the path can't be made absolute: {error}")).at(path.display()))?;
    Ok(format!("file://{}", whole.display().to_string().replace('%', "%25")))
}

impl fmt::Display for StorageLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { root, key } => write!(f, "{}", root.join(key).display()),
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Memory { key } => write!(f, "memory://{key}"),
        }
    }
}

impl std::str::FromStr for StorageLocation {
    type Err = PersistError;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}
