//! Where a snapshot is.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::error::{ErrorCode, PersistError, Result};
use crate::key::{MAX_KEY_BYTES, check_key, is_temporary, problem};

/// How often a symlink is followed before it is taken for a circle.
pub const MAX_LINKS: usize = 40;

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
                let (bucket, key) = split_bucket(rest);
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
            path = folder_of(&path).join(target);
        }
        Self::from_path(&path)
    }

    /// The same for who writes: a link that another user has put into a folder
    /// that others can write is not followed, since what it leads to would be
    /// replaced. The same holds for the folder that the file is in, though not for
    /// those above it. WASI knows no users, so that links are followed there.
    ///
    /// # Errors
    /// Those of [`from_path`](Self::from_path), and `AccessDenied` for such a link.
    pub fn from_path_to_write(path: &Path) -> Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            check_folder_to_write(folder_of(&path))?;
            let Some(target) = target_to_write(&path)? else { break };
            path = folder_of(&path).join(target);
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

/// Whether a bucket is given by the ARN of an access point:
/// `arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME`.
pub fn is_access_point(bucket: &str) -> bool {
    let parts: Vec<&str> = bucket.splitn(6, ':').collect();
    let &["arn", partition, service, _, account, name] = parts.as_slice() else { return false };
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let name = name.strip_prefix("accesspoint").and_then(|name| name.strip_prefix(['/', ':']));
    partition.starts_with("aws")
        && matches!(service, "s3" | "s3-object-lambda")
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && name.is_some_and(is_name)
}

/// The bucket, or the ARN of an access point to one, and the key of what stands behind
/// `s3://`.
pub fn split_bucket(rest: &str) -> (&str, &str) {
    // In an ARN, the first slash is part of the name.
    let name = if rest.starts_with("arn:") { rest.find(":accesspoint/").map_or(0, |at| at + ":accesspoint/".len()) } else { 0 };
    let end = rest.get(name..).and_then(|rest| rest.find('/')).map_or(rest.len(), |end| name + end);
    let (bucket, key) = rest.split_at(end);
    (bucket, key.strip_prefix('/').unwrap_or_default())
}

/// The folder that a path is in, empty for the current one.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Checks that the folder of what is to be written is none that another user's link
/// leads to.
///
/// # Errors
/// `AccessDenied` for such a link.
fn check_folder_to_write(folder: &Path) -> Result<()> {
    let parts: Vec<Component<'_>> = folder.components().collect();
    // What is before a `..` decides which folder it leads to.
    for (index, _) in parts.iter().enumerate().filter(|(_, part)| **part == Component::ParentDir) {
        check_links_to_write(parts.iter().take(index).collect())?;
    }
    // With a slash at its end, a path means what the link leads to.
    check_links_to_write(parts.iter().collect())
}

/// Checks that no link from a path on is another user's.
///
/// # Errors
/// `AccessDenied` for such a link.
fn check_links_to_write(mut path: PathBuf) -> Result<()> {
    for _ in 0..MAX_LINKS {
        let Some(target) = target_to_write(&path)? else { break };
        path = folder_of(&path).join(target).components().collect();
    }
    Ok(())
}

/// What a link leads to, none for what is no link.
#[cfg(not(unix))]
fn target_to_write(path: &Path) -> Result<Option<PathBuf>> {
    Ok(std::fs::read_link(path).ok())
}

/// What a link leads to, none for what is no link.
#[cfg(unix)]
fn target_to_write(path: &Path) -> Result<Option<PathBuf>> {
    use std::os::unix::fs::MetadataExt;
    let look = || path.symlink_metadata().ok().filter(std::fs::Metadata::is_symlink);
    let identity = |link: &std::fs::Metadata| (link.dev(), link.ino(), link.ctime(), link.ctime_nsec());
    let refused = |message: &str| {
        let error = PersistError::new(ErrorCode::AccessDenied, message).at(path.display());
        Err(error.hint("give the path that it leads to, if that is what you mean"))
    };
    let Some(before) = look() else { return Ok(None) };
    let me = rustix::process::geteuid().as_raw();
    let is_trusted = |owner: u32| owner == me || owner == 0;
    if !is_trusted(before.uid()) {
        let folder = Some(folder_of(path)).filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A folder that can't be looked at is none that can be trusted.
        let is_private = |folder: std::fs::Metadata| is_trusted(folder.uid()) && folder.mode() & 0o022 == 0;
        if !folder.metadata().is_ok_and(is_private) {
            return refused("access denied: the link belongs to another user");
        }
    }
    let target = std::fs::read_link(path).ok();
    if look().as_ref().map(identity) != Some(identity(&before)) {
        return refused("access denied: the link was replaced while it was followed");
    }
    Ok(target)
}

/// Checks the path of a snapshot that is to be written: what a listing could not
/// give as a key would be lost sight of.
///
/// # Errors
/// `InvalidKey` that says which rule it breaks.
fn check_to_write(path: &Path) -> Result<()> {
    let text = path.to_str();
    let problem = match text {
        None => Some("a key is UTF-8"),
        // That of a key, but for what only paths have.
        Some(text) => problem(text).filter(|_| text.len() > MAX_KEY_BYTES || text.chars().any(char::is_control)),
    };
    let is_unfinished =
        || text.is_some_and(|text| text.split('/').any(is_temporary)).then_some("names like this are kept for unfinished writes");
    let Some(problem) = problem.or_else(is_unfinished) else { return Ok(()) };
    Err(PersistError::new(ErrorCode::InvalidKey, format!("a snapshot at this path could not be listed: {problem}"))
        .at(path.to_string_lossy().escape_debug())
        .hint("choose another name; where the path is too long, go to its folder first"))
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

    /// The location for who writes a snapshot, by the same rules. One that could
    /// not be found again is refused.
    ///
    /// # Errors
    /// As [`locate`](Self::locate), `InvalidKey` for a path that no listing could
    /// give, and `AccessDenied` for a link of another user's.
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

    /// The same for a folder that snapshots are to be written to.
    ///
    /// # Errors
    /// `InvalidKey` for a path that no listing could give, and `AccessDenied` where
    /// it, or the folder that it is in, is a link of another user's.
    pub fn folder_to_write(self, folder: StorageLocation) -> Result<StorageLocation> {
        if let (StorageLocation::Local { root, .. }, None) = (&folder, self.base) {
            check_to_write(root)?;
            check_folder_to_write(root)?;
            check_folder_to_write(folder_of(root))?;
        }
        Ok(folder)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_access_point_is_a_bucket() {
        let arn = "arn:aws:s3:eu-central-1:123456789012:accesspoint/my-point";
        for (rest, bucket, key) in [
            (&*format!("{arn}/a/b.gz"), arn, "a/b.gz"),
            (arn, arn, ""),
            (&*format!("{arn}/"), arn, ""),
            ("arn:aws:s3:r:1:accesspoint:x/a/b", "arn:aws:s3:r:1:accesspoint:x", "a/b"),
            ("bucket/a/b", "bucket", "a/b"),
            ("bucket", "bucket", ""),
        ] {
            assert_eq!(split_bucket(rest), (bucket, key), "{rest}");
            let location = StorageLocation::S3 { bucket: bucket.to_owned(), key: "k".to_owned() };
            assert_eq!(StorageLocation::parse(&location.to_string()).ok(), Some(location));
        }
        for (text, is_one) in [
            (arn, true),
            ("arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:x", true),
            ("arn:aws:s3:::bucket", false),
            ("arn:aws:s3:r:123:accesspoint/", false),
            ("arn:aws:s3:r:123:accesspoint/a/b", false),
            ("bucket", false),
        ] {
            assert_eq!(is_access_point(text), is_one, "{text}");
        }
    }

    #[test]
    fn a_snapshot_is_not_written_where_no_listing_could_find_it() {
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
    fn a_folder_that_is_not_utf8_takes_no_snapshot() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"a\xff/x.gz"));
        let paths = LocalPaths::below(None);
        assert_eq!(paths.to_write(paths.locate(path).unwrap()).expect_err("it is not UTF-8").code(), ErrorCode::InvalidKey);
    }
}
