//! Places that keep objects, each behind [`StorageAdapter`].

mod local;
mod memory;
#[cfg(feature = "s3")]
mod s3;

use std::fmt;
use std::sync::Arc;

pub use self::local::{Durability, LocalFileStorage};
pub use self::memory::MemoryStorage;
#[cfg(feature = "s3")]
pub(crate) use self::s3::OPTION_NAMES;
#[cfg(feature = "s3")]
pub use self::s3::{S3Addressing, S3Checksums, S3Credentials, S3Encryption, S3Options, S3StorageAdapter};

use crate::cancel::CancelToken;
use crate::error::{ErrorCode, PersistError, Result};
use crate::health::HealthCheck;
use crate::location::StorageLocation;
pub(crate) use crate::metadata::Precondition;

/// Conditions that a storage keeps against concurrent writers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// [`Precondition::IfAbsent`] on a write.
    pub if_absent: bool,
    /// [`Precondition::IfMatch`] on a write and on a delete.
    pub if_match: bool,
}

/// How an object is to be written.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Checked at the moment of commit; a storage may also fail earlier.
    pub precondition: Precondition,
    /// The size to expect, in bytes; a hint that need not be right.
    pub size_hint: Option<u64>,
    /// The media type of the object, where the storage keeps one.
    pub content_type: Option<String>,
    /// Names and values to keep beside the object, where the storage can.
    pub attributes: Vec<(String, String)>,
}

/// Which bytes of an object to read. What lies past the end is left out and
/// is no error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteRange {
    /// The whole object.
    #[default]
    All,
    /// `length` bytes from `offset`.
    Span {
        /// The first byte, counted from 0.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// The last so many bytes, or the whole object if it is smaller.
    Suffix(u64),
}

impl ByteRange {
    /// First byte and end of the range in an object of `size` bytes.
    pub fn within(self, size: u64) -> (u64, u64) {
        match self {
            Self::All => (0, size),
            Self::Span { offset, length } => (offset.min(size), offset.saturating_add(length).min(size)),
            Self::Suffix(length) => (size.saturating_sub(length), size),
        }
    }
}

/// How an object is to be read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Which bytes.
    pub range: ByteRange,
    /// Read only if the object's etag is this one, else
    /// [`ErrorCode::PreconditionFailed`].
    pub if_match: Option<String>,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// An opaque text that changes when the object is replaced.
    pub etag: Option<String>,
    /// When it was last written, in milliseconds since 1970-01-01T00:00:00Z.
    pub modified: Option<u64>,
}

/// A place that keeps objects: named runs of bytes that are written whole, read
/// in part, listed and deleted.
///
/// The `storage` interface in `wit/storage.wit` is the contract, and one
/// conformance suite proves it for every adapter. In short:
///
/// - A key is 1 to 1024 bytes, in parts separated by `/`; no part is empty,
///   `.` or `..`, no character a control character. An adapter may refuse
///   more, with [`ErrorCode::InvalidKey`], and no key leads out of it.
/// - An object appears whole when its writer is committed, or not at all.
/// - A range past the end is shorter or empty, never an error.
/// - `NotFound` is said only when it is certain.
/// - An adapter retries what is worth retrying before it fails.
///
/// `save`, `load`, `exists` and `delete` are conveniences over these methods
/// for whole objects at a [`StorageLocation`].
pub trait StorageAdapter: Send + Sync + fmt::Debug {
    /// What and where it is, for people: `files in /srv/agents`.
    fn summary(&self) -> String;

    /// The location of a key, as a user would write it.
    fn locate(&self, key: &str) -> String;

    /// Which conditions this storage keeps; others are `Unsupported`.
    fn supported_conditions(&self) -> Conditions;

    /// Begins to write an object.
    ///
    /// # Errors
    /// `InvalidKey`, `Unsupported` conditions, and what the storage says. An
    /// early `AlreadyExists` is allowed.
    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>>;

    /// Begins to read an object.
    ///
    /// # Errors
    /// `NotFound`, `InvalidKey`, `PreconditionFailed`, and what the storage says.
    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>>;

    /// The facts of an object.
    ///
    /// # Errors
    /// `NotFound` and what the storage says.
    fn stat(&self, key: &str) -> Result<ObjectInfo>;

    /// Deletes an object.
    ///
    /// # Errors
    /// `NotFound`, `PreconditionFailed`, `Unsupported` conditions, and what
    /// the storage says.
    fn delete_object(&self, key: &str, precondition: Precondition) -> Result<()>;

    /// Objects whose keys begin with `prefix` and come after `start_after`, in
    /// the order of their keys' bytes, at most `limit`. Fewer than `limit`
    /// means that there are no more.
    ///
    /// # Errors
    /// What the storage says; a place that does not exist yet is empty.
    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>>;

    /// The same storage, whose waits end when the token is cancelled; none
    /// where nothing takes long.
    fn with_cancel(&self, cancel: &CancelToken) -> Option<Arc<dyn StorageAdapter>> {
        let _ = cancel;
        None
    }

    /// How many small operations are best done at once by who has many.
    fn parallelism(&self) -> usize {
        1
    }

    /// What [`check_health`](crate::check_health) looks at before it writes:
    /// credentials, and whether the place can be reached at all. `prefix` is
    /// what the keys there begin with.
    fn access_checks(&self, prefix: &str) -> Vec<HealthCheck> {
        let _ = prefix;
        Vec::new()
    }

    /// Writes a whole object.
    ///
    /// # Errors
    /// Those of [`open_write`](Self::open_write), and `Configuration` for a
    /// location that is not in this storage.
    fn save(&self, location: &StorageLocation, data: &[u8]) -> Result<()> {
        let key = own_key(self, location)?;
        let options = WriteOptions { size_hint: Some(data.len() as u64), ..WriteOptions::default() };
        let mut writer = self.open_write(&key, options)?;
        writer.write(data)?;
        writer.commit().map(drop)
    }

    /// Reads a whole object into memory.
    ///
    /// # Errors
    /// Those of [`open_read`](Self::open_read), and `Configuration` for a
    /// location that is not in this storage.
    fn load(&self, location: &StorageLocation) -> Result<Vec<u8>> {
        let mut reader = self.open_read(&own_key(self, location)?, ReadOptions::default())?;
        let mut data = Vec::new();
        loop {
            let chunk = reader.read(MAX_READ)?;
            if chunk.is_empty() {
                return Ok(data);
            }
            data.extend_from_slice(&chunk);
        }
    }

    /// Whether there is an object. An error is never reported as false.
    ///
    /// # Errors
    /// Those of [`stat`](Self::stat) but `NotFound`, and `Configuration` for a
    /// location that is not in this storage.
    fn exists(&self, location: &StorageLocation) -> Result<bool> {
        match self.stat(&own_key(self, location)?) {
            Ok(_) => Ok(true),
            Err(PersistError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// Those of [`delete_object`](Self::delete_object), and `Configuration`
    /// for a location that is not in this storage.
    fn delete(&self, location: &StorageLocation) -> Result<()> {
        self.delete_object(&own_key(self, location)?, Precondition::None)
    }
}

/// The most bytes that one read gives, whatever is asked for: a guest's wish
/// must not decide how much the host allocates.
pub(crate) const MAX_READ: u32 = 8 << 20;

/// The key that a location has in this storage, if it is in it.
fn own_key<S: StorageAdapter + ?Sized>(storage: &S, location: &StorageLocation) -> Result<String> {
    let plain = |text: String| text.strip_prefix("./").map_or(text.clone(), str::to_owned);
    let (root, path) = (plain(storage.locate("")), plain(location.to_string()));
    if let Some(key) = path.strip_prefix(&root)
        && plain(storage.locate(key)) == path
    {
        return Ok(key.to_owned());
    }
    Err(PersistError::new(ErrorCode::InvalidArgument, format!("this location is not in this storage ({})", storage.summary())).at(location))
}

/// An object being written. Dropped without commit, it aborts.
pub trait StorageWriter: Send {
    /// Appends bytes. After an error the writer can only be dropped.
    ///
    /// # Errors
    /// What the storage says.
    fn write(&mut self, chunk: &[u8]) -> Result<()>;

    /// Makes the object visible under its key, all of it at once.
    ///
    /// # Errors
    /// A precondition that does not hold, and what the storage says. The
    /// earlier object is there then, unless the message says that this one is:
    /// visible, but perhaps not durable.
    fn commit(self: Box<Self>) -> Result<ObjectInfo>;
}

/// An object being read; all its bytes are of one version.
pub trait StorageReader: Send {
    /// The whole object's facts, whatever the range.
    fn info(&self) -> &ObjectInfo;

    /// The next bytes: at least one and at most `max`, none only at the end.
    ///
    /// # Errors
    /// What the storage says.
    fn read(&mut self, max: u32) -> Result<Vec<u8>>;
}
