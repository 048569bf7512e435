//! Chooses a storage by arguments and the environment.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use persist_model::{ErrorCode, PersistError, Result};
use persist_paths::key::check_key;
use persist_paths::{LocalPaths, StorageLocation, file_uri, file_uri_path, folder_prefix, is_access_point, is_scheme, split_bucket};

#[cfg(feature = "s3")]
use crate::storage::s3::{S3_OPTIONS, S3Option, S3Options, S3StorageAdapter};
use crate::storage::{Durability, LocalFileStorage, MemoryStorage, StorageAdapter};

/// The kinds of storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StorageBackend {
    /// Files in a local folder.
    #[default]
    Local,
    /// Objects in an S3-compatible bucket.
    S3,
    /// Objects in the memory of this process.
    Memory,
}

impl fmt::Display for StorageBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::S3 => "s3",
            Self::Memory => "memory",
        })
    }
}

impl FromStr for StorageBackend {
    type Err = PersistError;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Local, Self::S3, Self::Memory].into_iter().find(|backend| backend.to_string() == text).ok_or_else(|| {
            PersistError::new(ErrorCode::InvalidArgument, format!("the storage '{}' is not known", text.escape_debug()))
                .hint("use local, s3 or memory")
        })
    }
}

impl From<&StorageLocation> for StorageBackend {
    fn from(location: &StorageLocation) -> Self {
        match location {
            StorageLocation::Local { .. } => Self::Local,
            StorageLocation::S3 { .. } => Self::S3,
            StorageLocation::Memory { .. } => Self::Memory,
        }
    }
}

/// The storage of locations without a scheme, and how to reach storages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageConfig {
    /// The storage of locations without a scheme.
    pub backend: StorageBackend,
    /// The bucket, for S3.
    pub s3_bucket: Option<String>,
    /// The bucket's region. If none, it comes from the AWS configuration.
    pub s3_region: Option<String>,
    /// A server other than AWS, such as `http://127.0.0.1:9000`.
    pub s3_endpoint: Option<String>,
    /// How to reach a bucket and write to it.
    #[cfg(feature = "s3")]
    pub s3: S3Options,
    /// The folder that all local paths are relative to and confined to, including those
    /// written as `file://`. If none, paths are as in a shell.
    pub local_base_path: Option<PathBuf>,
    /// Whether local writes are synced before they are acknowledged.
    pub durability: Durability,
}

/// One memory storage for the whole process, so that what was written to `memory://`
/// can be read again.
static MEMORY: LazyLock<MemoryStorage> = LazyLock::new(MemoryStorage::new);

impl StorageConfig {
    /// Returns a configuration for local files, with paths as in a shell.
    pub fn local() -> Self {
        Self::default()
    }

    /// Returns a configuration for a bucket.
    pub fn s3(bucket: impl Into<String>) -> Self {
        Self { backend: StorageBackend::S3, s3_bucket: Some(bucket.into()), ..Self::default() }
    }

    /// Returns the settings of the environment: `PERSIST_STORAGE` (local, s3 or
    /// memory), `PERSIST_S3_BUCKET`, `PERSIST_S3_REGION`, `PERSIST_S3_ENDPOINT`,
    /// `PERSIST_LOCAL_PATH`, and the options of [`S3Options`] by their names, such as
    /// `PERSIST_S3_MAX_ATTEMPTS`. An empty variable counts as unset.
    ///
    /// # Errors
    /// `Configuration` that names the variable.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| env::var_os(name).map(PathBuf::from))
    }

    /// Returns the settings of these variables; see [`from_env`](Self::from_env).
    ///
    /// # Errors
    /// `Configuration` that names the variable.
    pub fn from_variables(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.as_os_str().is_empty());
        let text = |name: &str| {
            set(name)
                .map(|value| value.into_os_string().into_string())
                .transpose()
                .map_err(|_| PersistError::new(ErrorCode::InvalidArgument, format!("{name} is not UTF-8")))
        };
        let backend = match text("PERSIST_STORAGE")? {
            Some(value) => value.parse().map_err(|error: PersistError| error.at("PERSIST_STORAGE"))?,
            None => StorageBackend::default(),
        };
        let config = Self {
            backend,
            s3_bucket: text("PERSIST_S3_BUCKET")?,
            s3_region: text("PERSIST_S3_REGION")?,
            s3_endpoint: text("PERSIST_S3_ENDPOINT")?,
            #[cfg(feature = "s3")]
            s3: {
                let mut options = S3Options::default();
                for S3Option { name, .. } in S3_OPTIONS {
                    let variable = S3Option::variable(name);
                    if let Some(value) = text(&variable)? {
                        options.set(name, &value).map_err(|error| error.at(&variable))?;
                    }
                }
                options
            },
            local_base_path: set("PERSIST_LOCAL_PATH"),
            durability: Durability::default(),
        };
        // A missing bucket fails only where one is needed, since a location may name
        // another storage.
        config.validate_values()?;
        Ok(config)
    }

    /// Checks that the settings fit together.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn validate(&self) -> Result<()> {
        self.validate_values()?;
        if self.backend == StorageBackend::S3 && self.s3_bucket.is_none() {
            return Err(wrong(
                "S3 storage needs a bucket",
                "name it with s3_bucket, --s3-bucket or PERSIST_S3_BUCKET, or write the location as s3://bucket/key",
            ));
        }
        Ok(())
    }

    fn validate_values(&self) -> Result<()> {
        if self.s3_bucket.as_deref().is_some_and(|bucket| !is_bucket_name(bucket)) {
            return Err(invalid_bucket());
        }
        if self.s3_endpoint.as_deref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            return Err(wrong("the S3 endpoint is not a URL", "write it with its scheme, such as http://127.0.0.1:9000"));
        }
        Ok(())
    }

    /// Returns the location that a text means under these settings. If the text has a
    /// scheme, it decides; otherwise, the backend does.
    ///
    /// # Errors
    /// `Configuration` for text that is not a location.
    pub fn locate(&self, text: impl AsRef<OsStr>) -> Result<StorageLocation> {
        let path = Path::new(text.as_ref());
        let Some(text) = path.to_str() else { return self.paths().locate(path) };
        match text.split_once("://") {
            Some(("file", rest)) => return self.paths().locate_whole(&file_uri_path(text, rest)?),
            Some((scheme, _)) if is_scheme(scheme) => return StorageLocation::parse(text),
            _ => {}
        }
        match self.backend {
            StorageBackend::Local => self.paths().locate(path),
            StorageBackend::S3 => {
                let bucket = self.bucket()?;
                check_key(text)?;
                Ok(StorageLocation::S3 { bucket, key: text.to_owned() })
            }
            StorageBackend::Memory => Ok(StorageLocation::Memory { key: text.to_owned() }),
        }
    }

    /// Locates as [`locate`](Self::locate) does, for reading or writing: a plain path
    /// to a link means the target of the link. Keys below a base path stay as they are,
    /// since no link leads out of it.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate).
    pub fn locate_followed(&self, text: impl AsRef<OsStr>) -> Result<StorageLocation> {
        self.paths().followed(self.locate(text)?)
    }

    /// Returns a location as text that [`locate`](Self::locate) reads back under these
    /// settings, suitable as an argument of a command.
    ///
    /// # Errors
    /// `Io` for a relative path if there is no current folder.
    pub fn written(&self, location: &StorageLocation) -> Result<String> {
        match location {
            // With another backend, a plain path would be a key.
            StorageLocation::Local { root, key } if self.backend != StorageBackend::Local => file_uri(&root.join(key)),
            location => Ok(self.paths().written(location)),
        }
    }

    /// Locates as [`locate_followed`](Self::locate_followed) does, for writing a
    /// snapshot. A link of another user in a folder that others can write to is not
    /// followed, and a path that could not be listed is refused.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate), `AccessDenied` for such a link, and
    /// `InvalidKey` for a path that is longer than 1,024 bytes, has control characters,
    /// is not UTF-8, or has the name of an unfinished write.
    pub fn locate_to_write(&self, text: impl AsRef<OsStr>) -> Result<StorageLocation> {
        self.paths().to_write(self.locate(text)?)
    }

    fn paths(&self) -> LocalPaths<'_> {
        LocalPaths::below(self.local_base_path.as_deref())
    }

    fn bucket(&self) -> Result<String> {
        self.validate()?;
        Ok(self.s3_bucket.clone().unwrap_or_default())
    }

    /// Opens the storage of a location.
    ///
    /// # Errors
    /// `Configuration` for settings that are not valid, and `CloudStorage` for S3 if
    /// this library was built without it.
    pub fn open(&self, location: &StorageLocation) -> Result<Arc<dyn StorageAdapter>> {
        match location {
            StorageLocation::Local { root, .. } => Ok(Arc::new(LocalFileStorage::new(root).durability(self.durability))),
            StorageLocation::S3 { bucket, .. } => self.open_bucket(bucket).map_err(|error| error.at(location)),
            StorageLocation::Memory { .. } => Ok(Arc::new(MEMORY.clone())),
        }
    }

    #[cfg(feature = "s3")]
    fn open_bucket(&self, bucket: &str) -> Result<Arc<dyn StorageAdapter>> {
        self.validate_values()?;
        let adapter = S3StorageAdapter::new(bucket, self.s3_region.as_deref(), self.s3_endpoint.as_deref(), self.s3.clone())?;
        Ok(Arc::new(adapter))
    }

    #[cfg(not(feature = "s3"))]
    fn open_bucket(&self, _bucket: &str) -> Result<Arc<dyn StorageAdapter>> {
        let error = PersistError::new(ErrorCode::Unsupported, "S3 bucket storage is not part of this build");
        Err(error.hint("build with the feature s3"))
    }

    /// Opens the storage of a folder, or of a key prefix in a bucket. Returns it with
    /// the prefix of the keys in the folder.
    ///
    /// # Errors
    /// `NotFound` for a local folder that does not exist, `Configuration` for a
    /// location that is not a folder, and those of [`open`](Self::open).
    pub fn open_folder(&self, text: impl AsRef<OsStr>) -> Result<(Arc<dyn StorageAdapter>, String)> {
        self.open_located(&self.folder(text.as_ref(), true)?)
    }

    /// Opens a folder as [`open_folder`](Self::open_folder) does, but it need not exist
    /// yet.
    ///
    /// # Errors
    /// Those of [`open_folder`](Self::open_folder) except `NotFound`, and `InvalidKey`
    /// as in [`locate_to_write`](Self::locate_to_write).
    pub fn open_folder_to_write(&self, text: impl AsRef<OsStr>) -> Result<(Arc<dyn StorageAdapter>, String)> {
        self.open_located(&self.locate_folder_to_write(text)?)
    }

    fn open_located(&self, folder: &StorageLocation) -> Result<(Arc<dyn StorageAdapter>, String)> {
        Ok((self.open(folder)?, folder.key().to_owned()))
    }

    /// Returns the location of a folder, or of a key prefix in a bucket. Its "key" is
    /// what the keys in the folder begin with, and is empty or ends with `/`. The
    /// folder need not exist yet.
    ///
    /// # Errors
    /// `Configuration` for a location that is not a folder.
    pub fn locate_folder(&self, text: impl AsRef<OsStr>) -> Result<StorageLocation> {
        self.folder(text.as_ref(), false)
    }

    /// Locates a folder as [`locate_folder`](Self::locate_folder) does, but it must
    /// exist.
    ///
    /// # Errors
    /// Those of [`locate_folder`](Self::locate_folder), and `NotFound` for a local
    /// folder that does not exist.
    pub fn locate_existing_folder(&self, text: impl AsRef<OsStr>) -> Result<StorageLocation> {
        self.folder(text.as_ref(), true)
    }

    /// Locates a folder as [`locate_folder`](Self::locate_folder) does, for writing
    /// snapshots into it.
    ///
    /// # Errors
    /// Those of [`locate_folder`](Self::locate_folder), and `InvalidKey` as in
    /// [`locate_to_write`](Self::locate_to_write).
    pub fn locate_folder_to_write(&self, text: impl AsRef<OsStr>) -> Result<StorageLocation> {
        self.paths().folder_to_write(self.locate_folder(text)?)
    }

    fn folder(&self, text: &OsStr, has_to_exist: bool) -> Result<StorageLocation> {
        let path = Path::new(text);
        let text = path.to_string_lossy();
        let in_bucket = |bucket: &str, key| Ok(StorageLocation::S3 { bucket: bucket.to_owned(), key: checked_prefix(key)? });
        match (text.split_once("://"), self.backend) {
            (Some(("file", rest)), _) => self.paths().whole_folder(&file_uri_path(&text, rest)?, has_to_exist),
            (Some(("memory", key)), _) => Ok(StorageLocation::Memory { key: folder_prefix(key) }),
            (Some(("s3", rest)), _) => {
                let (bucket, key) = split_bucket(rest);
                if !is_bucket_name(bucket) {
                    return Err(invalid_bucket().at(text));
                }
                in_bucket(bucket, key)
            }
            // Fails with the reason.
            (Some((scheme, _)), _) if is_scheme(scheme) => StorageLocation::parse(&text),
            (_, StorageBackend::S3) => in_bucket(&self.bucket()?, &text),
            (_, StorageBackend::Memory) => Ok(StorageLocation::Memory { key: folder_prefix(&text) }),
            (_, StorageBackend::Local) => self.paths().folder(path, has_to_exist),
        }
    }
}

fn invalid_bucket() -> PersistError {
    wrong("the S3 bucket name is not valid", "a bucket name has 3 to 63 letters, digits, dots, hyphens or underscores")
}

/// Returns a checked [`folder_prefix`] for a bucket.
fn checked_prefix(key: &str) -> Result<String> {
    let prefix = folder_prefix(key);
    if !prefix.is_empty() {
        check_key(prefix.trim_end_matches('/'))?;
    }
    Ok(prefix)
}

fn wrong(problem: &str, hint: &str) -> PersistError {
    PersistError::new(ErrorCode::InvalidArgument, problem).hint(hint)
}

/// Allows what S3-compatible servers allow; AWS itself allows fewer characters.
fn is_bucket_name(name: &str) -> bool {
    is_access_point(name)
        || (3..=63).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}
