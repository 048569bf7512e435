//! Places that keep objects, each behind [`StorageAdapter`].

mod boot_time;
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
use crate::permissions::Permissions;

/// What a storage can do beside what every storage can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// [`Precondition::IfAbsent`] on a write, kept against concurrent writers.
    pub if_absent: bool,
    /// [`Precondition::IfMatch`] on a write and on a delete, kept likewise.
    pub if_match: bool,
    /// [`StorageWriter::copy_range`].
    pub copy_range: bool,
    /// Keeps [`WriteOptions::content_type`], and gives it back.
    pub content_type: bool,
    /// Keeps [`WriteOptions::attributes`], and gives them back.
    pub attributes: bool,
    /// Gives [`ObjectInfo::storage_time`].
    pub storage_time: bool,
}

/// How an object is to be written.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Checked at the moment of commit; a storage may also fail earlier.
    pub precondition: Precondition,
    /// The most bytes that the object is expected to have: a hint that need
    /// not be right.
    pub object_size_hint: Option<u64>,
    /// The media type of the object, where the storage keeps one.
    pub content_type: Option<String>,
    /// Names and values to keep beside the object, where the storage can.
    pub attributes: Vec<(String, String)>,
    /// Who may read, write and run the file, where objects are files. Where the file
    /// can't be given to the group, that group's bits are left out. None: those of
    /// the file that is replaced (of another user's file only what the umask leaves
    /// of them), else what the umask leaves.
    pub permissions: Option<Permissions>,
    /// Whether runs of zeros take no space, where objects are files and the file system
    /// can do that.
    pub leaves_holes: bool,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// An opaque text that changes when the object is replaced.
    pub etag: Option<String>,
    /// When it was last written, in milliseconds since 1970-01-01T00:00:00Z.
    pub modified: Option<u64>,
    /// Its media type; none if not known. Listings need not know it.
    pub content_type: Option<String>,
    /// The names and values that were kept beside it, sorted by name. Listings
    /// need not know them.
    pub attributes: Vec<(String, String)>,
    /// What the storage's own clock showed when it answered, in milliseconds
    /// from a beginning that all its answers share; none if it shows none.
    pub storage_time: Option<u64>,
}

/// One of the reads of [`StorageAdapter::read_many`].
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// The object.
    pub key: String,
    /// Which bytes.
    pub range: ByteRange,
    /// As [`ReadOptions::if_match`].
    pub if_match: Option<String>,
}

/// What one read of [`StorageAdapter::read_many`] gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The whole object's facts, whatever the range.
    pub info: ObjectInfo,
    /// All bytes of the range.
    pub bytes: Vec<u8>,
}

/// An object that [`StorageAdapter::delete_many`] could not delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteFailure {
    /// Its key.
    pub key: String,
    /// Why.
    pub error: PersistError,
}

/// One entry of a level, of [`StorageAdapter::list_level`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LevelEntry {
    /// An object whose key has no `/` behind the prefix.
    Object(ObjectInfo),
    /// What all keys of a level below begin with; it ends with `/`.
    Prefix(String),
}

impl LevelEntry {
    /// The key or prefix, by which entries are sorted.
    pub fn name(&self) -> &str {
        match self {
            Self::Object(info) => &info.key,
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// What a listing comes to, of [`StorageAdapter::walk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// An object.
    Object(ObjectInfo),
    /// A folder that can't be read, or a name that can't be a key.
    Unreadable {
        /// The key as text; that of a folder ends with `/`.
        key: String,
        /// Why, and where.
        error: PersistError,
    },
}

impl Listed {
    /// The key, or what stands for one.
    pub fn key(&self) -> &str {
        match self {
            Self::Object(info) => &info.key,
            Self::Unreadable { key, .. } => key,
        }
    }
}

/// A listing that keeps its place; an error that ends it is its last item.
pub type Listing = Box<dyn Iterator<Item = Result<Listed>> + Send>;

/// The entry of a name that can't be a key, for a reason.
fn not_a_key(path: &[u8], problem: &str, storage: &dyn StorageAdapter) -> (String, PersistError) {
    let text: String = path
        .utf8_chunks()
        .flat_map(|chunk| {
            let strange = chunk.invalid().iter().flat_map(|byte| byte.escape_ascii()).map(char::from);
            chunk.valid().chars().chain(strange)
        })
        .collect();
    let error = PersistError::new(ErrorCode::InvalidKey, format!("the name can't be a key: {problem}"));
    let error = error.at(storage.locate(&text)).hint("rename it; where a path is too long, list the folder that it is in");
    (text, error)
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

    /// What this storage can do; what it does not claim is `Unsupported`.
    fn capabilities(&self) -> Capabilities;

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
    /// What is there and can't be listed is not left out in silence: a folder
    /// that can't be read is an entry whose key ends with `/`, and a name that
    /// can't be a key is one too. Who reads such an entry is told why.
    ///
    /// # Errors
    /// What the storage says; a place that does not exist yet is empty.
    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>>;

    /// Reads ranges of one or more objects, at once as far as the storage can.
    /// The answers are in the order of the requests, and each is for itself.
    ///
    /// # Errors
    /// What ends all of it, as `Cancelled`.
    fn read_many(&self, requests: &[ReadRequest]) -> Result<Vec<Result<ReadAnswer>>> {
        let read = |request: &ReadRequest| {
            let options = ReadOptions { range: request.range, if_match: request.if_match.clone() };
            let mut reader = self.open_read(&request.key, options)?;
            let bytes = read_to_end(&mut *reader)?;
            Ok(ReadAnswer { info: reader.info().clone(), bytes })
        };
        Ok(requests.iter().map(read).collect())
    }

    /// Deletes objects. Missing objects are ignored. Gives those that could not
    /// be deleted.
    ///
    /// # Errors
    /// What ends all of it, as `Cancelled`.
    fn delete_many(&self, keys: &[String]) -> Result<Vec<DeleteFailure>> {
        let delete = |key: &String| match self.delete_object(key, Precondition::None) {
            Ok(()) | Err(PersistError::NotFound(_)) => None,
            Err(error) => Some(DeleteFailure { key: key.clone(), error }),
        };
        Ok(keys.iter().filter_map(delete).collect())
    }

    /// Removes the folders that these keys were in and that are empty now, below the one
    /// whose keys begin with `folder`, which ends with `/` or is empty. Where folders are
    /// only what keys have in common, there are none.
    fn remove_empty_folders(&self, folder: &str, keys: &[String]) {
        let _ = (folder, keys);
    }

    /// As [`list_objects`](Self::list_objects), of one level alone: keys that
    /// have a `/` behind `prefix` are given by what they have in common up to
    /// that `/`, once. All entries come after `start_after`: for the next page,
    /// that is the last entry of this one, of either kind.
    ///
    /// # Errors
    /// As [`list_objects`](Self::list_objects).
    fn list_level(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<LevelEntry>> {
        let mut after = start_after.map(|after| behind(prefix, after));
        let mut entries = Vec::new();
        while entries.len() < limit as usize {
            let left = limit.saturating_sub(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            let objects = self.list_objects(prefix, after.as_deref(), left)?;
            let is_last = objects.len() < left as usize;
            let mut level = None;
            for info in objects {
                let rest = info.key.get(prefix.len()..).unwrap_or_default();
                match rest.find('/').and_then(|end| info.key.get(..=prefix.len() + end)) {
                    Some(below) => {
                        level = Some(below.to_owned());
                        if start_after.is_none_or(|after| below > after) {
                            entries.push(LevelEntry::Prefix(below.to_owned()));
                        }
                        break;
                    }
                    None => {
                        after = Some(info.key.clone());
                        entries.push(LevelEntry::Object(info));
                    }
                }
            }
            match level {
                Some(level) => after = Some(behind(prefix, &level)),
                None if is_last => break,
                None => {}
            }
        }
        Ok(entries)
    }

    /// All that [`list_objects`](Self::list_objects) would give, one after the
    /// other, and what keeps some from being listed, each in its place. None
    /// where pages do as well.
    fn walk(&self, prefix: &str, start_after: Option<&str>) -> Option<Listing> {
        let _ = (prefix, start_after);
        None
    }

    /// Who may read, write and run the file of an object, as
    /// [`WriteOptions::permissions`]; none where objects are no files, or there is
    /// none.
    fn permissions(&self, key: &str) -> Option<Permissions> {
        let _ = key;
        None
    }

    /// The same storage, whose waits end when the token is cancelled; none
    /// where nothing takes long.
    fn with_cancel(&self, cancel: &CancelToken) -> Option<Arc<dyn StorageAdapter>> {
        let _ = cancel;
        None
    }

    /// A name for this place among all others, under which what its objects hold may
    /// be remembered by their etags; none where looking at them is cheap.
    fn identity(&self) -> Option<String> {
        None
    }

    /// How many small operations are best done at once by who has many.
    fn parallelism(&self) -> usize {
        1
    }

    /// The most memory, in bytes, that reading or writing an object of this size
    /// takes at a time, beside what the caller holds.
    fn buffered(&self, object_size: u64) -> u64 {
        object_size.min(u64::from(MAX_READ))
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
        let options = WriteOptions { object_size_hint: Some(data.len() as u64), ..WriteOptions::default() };
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
        read_to_end(&mut *self.open_read(&own_key(self, location)?, ReadOptions::default())?)
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

/// A delete can't ask for an absent object.
fn delete_if_absent() -> PersistError {
    PersistError::new(ErrorCode::InvalidArgument, "a delete can't ask for an absent object")
}

/// Whether an upload is gone that was under way, as after a lifecycle rule of the
/// bucket has aborted it. Nothing of it was stored.
pub(crate) fn is_lost_upload(error: &PersistError) -> bool {
    let says_so = |(name, value): &(String, String)| name == "service_code" && value == "NoSuchUpload";
    error.code() == ErrorCode::Refused && error.detail().facts.iter().any(says_so)
}

/// The most bytes in a key.
const MAX_KEY: usize = 1024;

/// The key to list after, so that no key below `name` comes any more if that is a
/// level behind `prefix`; anything else stays as it is.
pub(crate) fn behind(prefix: &str, name: &str) -> String {
    let is_level = name.ends_with('/') && name.len() > prefix.len();
    // No character is larger, and no key is longer.
    let rest = if is_level { MAX_KEY.saturating_sub(name.len()) / 4 } else { 0 };
    format!("{name}{}", "\u{10ffff}".repeat(rest))
}

/// All bytes of a range.
pub(crate) fn read_to_end(reader: &mut dyn StorageReader) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let chunk = reader.read(MAX_READ)?;
        if chunk.is_empty() {
            return Ok(data);
        }
        if data.is_empty() {
            data = chunk;
        } else {
            data.extend_from_slice(&chunk);
        }
    }
}

/// Appends a range of an object to another one, by way of this process.
pub(crate) fn copy_through(writer: &mut dyn StorageWriter, reader: &mut dyn StorageReader, length: u64) -> Result<()> {
    let mut left = length;
    while left > 0 {
        let chunk = reader.read(u32::try_from(left).unwrap_or(MAX_READ).min(MAX_READ))?;
        if chunk.is_empty() {
            let message = format!("the object to copy from ends {left} bytes before the range that was asked for");
            return Err(PersistError::new(ErrorCode::Io, message));
        }
        left = left.saturating_sub(chunk.len() as u64);
        writer.write(&chunk)?;
    }
    Ok(())
}

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

    /// Appends bytes of another object of this storage: all of the span, or an
    /// error. `if_match` is as in [`ReadOptions`]. After an error the writer can
    /// only be dropped.
    ///
    /// # Errors
    /// `Unsupported` unless [`Capabilities::copy_range`] is claimed, `Io` for a
    /// span past the end, and what the storage says.
    fn copy_range(&mut self, source: &str, offset: u64, length: u64, if_match: Option<&str>) -> Result<()> {
        let _ = (source, offset, length, if_match);
        Err(PersistError::new(ErrorCode::Unsupported, "this storage can't copy ranges of its objects"))
    }

    /// Makes the object visible under its key, all of it at once.
    ///
    /// # Errors
    /// A precondition that does not hold, and what the storage says. The code
    /// says what the commit came to: with [`ErrorCode::NotDurable`] the object
    /// is there, but a power cut may take it back; with
    /// [`ErrorCode::OutcomeUnknown`] it may be there or not; with any other it
    /// is not, and the earlier object is.
    fn commit(self: Box<Self>) -> Result<ObjectInfo>;
}

/// An object being read; all its bytes are of one version.
pub trait StorageReader: Send {
    /// The whole object's facts, whatever the range.
    fn info(&self) -> &ObjectInfo;

    /// The next bytes: at least one and at most `max`, none only at the end. A
    /// `max` of 0 gives none, and changes nothing.
    ///
    /// # Errors
    /// What the storage says.
    fn read(&mut self, max: u32) -> Result<Vec<u8>>;
}
