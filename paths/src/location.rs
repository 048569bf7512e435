//! The location of a snapshot.

use std::fmt;
use std::path::{Path, PathBuf};

use persist_model::{PersistError, Result};

use crate::links;
use crate::uri::{file_uri_path, invalid, is_scheme};

/// The location of a snapshot: a path, `file://…`, `s3://bucket/key` or `memory://key`.
///
/// A plain path works as in a shell: its parent folder is the root, its name is the key,
/// and links in the folder's path are followed. Only keys are confined to their root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageLocation {
    /// A file.
    Local {
        /// The folder that the key is confined to; empty for the current one.
        root: PathBuf,
        /// The path relative to the root.
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

impl StorageLocation {
    /// Parses a location.
    ///
    /// # Errors
    /// `Configuration` for an unknown scheme, a missing part, or a path that names a
    /// folder.
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

    /// Returns the location of a file.
    ///
    /// # Errors
    /// `Configuration` if the path has no file name or the name is not UTF-8.
    pub fn from_path(path: &Path) -> Result<Self> {
        let text = path.to_string_lossy();
        if text.is_empty() {
            return Err(invalid(&text, "it is empty"));
        }
        if text == "-" {
            return Err(invalid(&text, "- means stdin or stdout; a file with this name is ./-"));
        }
        if text.contains('\0') {
            return Err(invalid(&text, "it contains a NUL"));
        }
        let name = path.file_name().filter(|_| !text.ends_with('/')).ok_or_else(|| invalid(&text, "it names a folder, not a file"))?;
        let key = name.to_str().ok_or_else(|| invalid(&text, "the file name is not UTF-8"))?;
        Ok(Self::Local { root: path.parent().unwrap_or(Path::new("")).to_owned(), key: key.to_owned() })
    }

    /// Returns the location of the file that a path leads to, following symlinks as a
    /// shell does for reading and writing, but not for deleting. A loop of links means
    /// the link itself.
    ///
    /// # Errors
    /// Those of [`from_path`](Self::from_path).
    pub fn from_path_followed(path: &Path) -> Result<Self> {
        Self::from_path(&links::followed(path))
    }

    /// Like [`from_path_followed`](Self::from_path_followed), for writing: refuses a link
    /// that another user has put into a folder that others can write to, since its target
    /// would be replaced. This applies to the file and its folder, but not to the folders
    /// above. WASI has no users, so links are always followed there.
    ///
    /// # Errors
    /// Those of [`from_path`](Self::from_path), and `AccessDenied` for such a link.
    pub fn from_path_to_write(path: &Path) -> Result<Self> {
        Self::from_path(&links::followed_to_write(path)?)
    }

    /// Returns the location of another key in the same storage.
    #[must_use]
    pub fn with_key(mut self, new: &str) -> Self {
        let (Self::Local { key, .. } | Self::S3 { key, .. } | Self::Memory { key }) = &mut self;
        new.clone_into(key);
        self
    }

    /// Returns the key of the object in its storage.
    pub fn key(&self) -> &str {
        match self {
            Self::Local { key, .. } | Self::S3 { key, .. } | Self::Memory { key } => key,
        }
    }
}

/// Returns whether a bucket is the ARN of an access point:
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

/// Splits what follows `s3://` into the bucket, or the ARN of an access point, and the
/// key.
pub fn split_bucket(rest: &str) -> (&str, &str) {
    // In an ARN, the first slash is part of the name.
    let name = if rest.starts_with("arn:") { rest.find(":accesspoint/").map_or(0, |at| at + ":accesspoint/".len()) } else { 0 };
    let end = rest.get(name..).and_then(|rest| rest.find('/')).map_or(rest.len(), |end| name + end);
    let (bucket, key) = rest.split_at(end);
    (bucket, key.strip_prefix('/').unwrap_or_default())
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
}
