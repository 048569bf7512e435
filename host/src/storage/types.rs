//! The requests to storages, and their answers.

use std::time::{Duration, Instant};

use persist_model::{Permissions, PersistError, Precondition, Result, setters};

/// Optional features of a storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`Precondition::IfAbsent`] on writes, also against concurrent writers.
    pub if_absent: bool,
    /// [`Precondition::IfMatch`] on writes and deletes, also against concurrent
    /// writers.
    pub if_match: bool,
    /// [`StorageWriter::copy_range`](crate::StorageWriter::copy_range).
    pub copy_range: bool,
    /// Keeps and returns [`WriteOptions::content_type`].
    pub content_type: bool,
    /// Keeps and returns [`WriteOptions::attributes`].
    pub attributes: bool,
    /// Returns [`ObjectInfo::storage_time`].
    pub storage_time: bool,
}

setters!(Capabilities { if_absent: bool, if_match: bool, copy_range: bool, content_type: bool, attributes: bool, storage_time: bool });

/// Options for writing an object.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WriteOptions {
    /// Checked when the write is committed; a storage may also fail earlier.
    pub precondition: Precondition,
    /// The expected maximum size of the object, in bytes. It need not be right.
    pub object_size_hint: Option<u64>,
    /// The media type of the object, if the storage keeps one.
    pub content_type: Option<String>,
    /// Names and values to keep with the object, if the storage can.
    pub attributes: Vec<(String, String)>,
    /// Who may read, write and execute the file, if objects are files. If the file
    /// can't be given to the group, the group's bits are left out. If none, a replaced
    /// file keeps its permissions (of another user's file, only what the umask allows),
    /// and a new file follows the umask.
    pub permissions: Option<Permissions>,
    /// Whether runs of zeros should take no space, if objects are files and the file
    /// system supports it.
    pub leaves_holes: bool,
}

setters!(WriteOptions {
    precondition: Precondition,
    object_size_hint: impl Into<Option<u64>>,
    content_type: impl Into<Option<String>>,
    attributes: Vec<(String, String)>,
    permissions: impl Into<Option<Permissions>>,
    leaves_holes: bool,
});

/// The bytes of an object to read. Bytes past the end are left out, which is not an
/// error.
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
    /// This many bytes from the end, or the whole object if it is smaller.
    Suffix(u64),
}

impl ByteRange {
    /// Returns the first byte and the end of the range in an object of `size` bytes.
    pub fn within(self, size: u64) -> (u64, u64) {
        match self {
            Self::All => (0, size),
            Self::Span { offset, length } => (offset.min(size), offset.saturating_add(length).min(size)),
            Self::Suffix(length) => (size.saturating_sub(length), size),
        }
    }
}

/// Options for reading an object.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReadOptions {
    /// The bytes to read.
    pub range: ByteRange,
    /// The etag that the object must have. Otherwise, reading fails with
    /// [`ErrorCode::PreconditionFailed`](persist_model::ErrorCode::PreconditionFailed).
    pub if_match: Option<String>,
}

setters!(ReadOptions { range: ByteRange, if_match: impl Into<Option<String>> });

/// What is known of an object without reading it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// An opaque string that changes whenever the object is replaced.
    pub etag: Option<String>,
    /// When it was last written, in milliseconds since 1970-01-01T00:00:00Z.
    pub modified: Option<u64>,
    /// Its media type, if known. Listings may leave it out.
    pub content_type: Option<String>,
    /// The names and values that were kept with it, sorted by name. Listings may leave
    /// them out.
    pub attributes: Vec<(String, String)>,
    /// The storage's own clock when it responded, in milliseconds since a fixed point
    /// that all its responses share. None if it has no clock.
    pub storage_time: Option<u64>,
}

impl ObjectInfo {
    /// Returns an object of which only its key and its size in bytes are known.
    pub fn new(key: impl Into<String>, size: u64) -> Self {
        Self { key: key.into(), size, ..Self::default() }
    }
}

setters!(ObjectInfo {
    key: impl Into<String>,
    size: u64,
    etag: impl Into<Option<String>>,
    modified: impl Into<Option<u64>>,
    content_type: impl Into<Option<String>>,
    attributes: Vec<(String, String)>,
    storage_time: impl Into<Option<u64>>,
});

/// One of the reads of [`StorageAdapter::read_many`](crate::StorageAdapter::read_many).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReadRequest {
    /// The object.
    pub key: String,
    /// The bytes to read.
    pub range: ByteRange,
    /// As [`ReadOptions::if_match`].
    pub if_match: Option<String>,
}

impl ReadRequest {
    /// Returns a request for a range of an object, whatever its etag.
    pub fn new(key: impl Into<String>, range: ByteRange) -> Self {
        Self { key: key.into(), range, if_match: None }
    }
}

setters!(ReadRequest { if_match: impl Into<Option<String>> });

/// The result of one read of [`StorageAdapter::read_many`](crate::StorageAdapter::read_many).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadAnswer {
    /// What is known of the whole object, whatever the range.
    pub info: ObjectInfo,
    /// All bytes of the range.
    pub bytes: Vec<u8>,
}

impl ReadAnswer {
    /// Returns the bytes of a range, and what is known of their object.
    pub fn new(info: ObjectInfo, bytes: Vec<u8>) -> Self {
        Self { info, bytes }
    }
}

/// An object that [`StorageAdapter::delete_many`](crate::StorageAdapter::delete_many) could not delete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteFailure {
    /// Its key.
    pub key: String,
    /// Why it could not be deleted.
    pub error: PersistError,
}

impl DeleteFailure {
    /// Returns why an object could not be deleted.
    pub fn new(key: impl Into<String>, error: PersistError) -> Self {
        Self { key: key.into(), error }
    }
}

/// An entry of a level, from [`StorageAdapter::list_level`](crate::StorageAdapter::list_level).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LevelEntry {
    /// An object whose key has no `/` after the prefix.
    Object(ObjectInfo),
    /// The common prefix of all keys in a level below. It ends with `/`.
    Prefix(String),
}

impl LevelEntry {
    /// Returns the key or prefix. Entries are sorted by it.
    pub fn name(&self) -> &str {
        match self {
            Self::Object(info) => &info.key,
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// An entry of a listing, from [`StorageAdapter::walk`](crate::StorageAdapter::walk).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// An object.
    Object(ObjectInfo),
    /// A folder that can't be read, or a name that can't be a key.
    Unreadable {
        /// The key as text. The key of a folder ends with `/`.
        key: String,
        /// Why, and where.
        error: PersistError,
    },
}

impl Listed {
    /// Returns the key, or the text of a name that can't be one.
    pub fn key(&self) -> &str {
        match self {
            Self::Object(info) => &info.key,
            Self::Unreadable { key, .. } => key,
        }
    }
}

/// An iterator over a listing. An error that ends it is its last item.
pub type Listing = Box<dyn Iterator<Item = Result<Listed>> + Send>;

/// The result of one check of a storage.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HealthCheck {
    /// What was checked, such as `write` or `read`.
    pub name: &'static str,
    /// The outcome, in a few words.
    pub outcome: Result<String>,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether snapshots depend on it.
    pub required: bool,
}

impl HealthCheck {
    /// Runs a required check.
    pub fn run(name: &'static str, check: impl FnOnce() -> Result<String>) -> Self {
        let began = Instant::now();
        let outcome = check();
        Self { name, outcome, elapsed: began.elapsed(), required: true }
    }

    /// Returns whether the check passed or was not required.
    pub fn is_passed(&self) -> bool {
        self.outcome.is_ok() || !self.required
    }
}
