//! The storage that snapshots are read from and written to, as the library
//! sees it: the `storage` interface of the WIT contract, whose documentation
//! holds for every item here.

use crate::error::Result;

/// What must be true of a key for a write or a delete to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// No object has the key.
    IfAbsent,
    /// The object's etag is this one.
    IfMatch(String),
}

/// How an object is to be written.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Checked at the moment of commit.
    pub precondition: Precondition,
    /// The most bytes that the object is expected to have; a hint.
    pub object_size_hint: Option<u64>,
    /// The media type of the object.
    pub content_type: Option<String>,
    /// Names and values to keep beside the object.
    pub attributes: Vec<(String, String)>,
}

/// Which bytes of an object to read; what lies past the end is left out.
#[derive(Clone, Copy, Debug)]
pub enum ByteRange {
    /// The whole object.
    All,
    /// `length` bytes from `offset`.
    Span {
        /// The first byte, counted from 0.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// The last so many bytes.
    Suffix(u64),
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Changes when the object is replaced.
    pub etag: Option<String>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub modified: Option<u64>,
}

/// The facts of an object, and its last bytes.
pub type End = Result<(ObjectInfo, Vec<u8>)>;

/// A place that keeps objects. Clones are handles to the same place.
pub trait Storage: Clone {
    /// An object being written.
    type Writer: Writer;
    /// An object being read.
    type Reader: Reader;

    /// Begins to write an object.
    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Self::Writer>;
    /// Begins to read an object, of this etag if one is given.
    fn open_read(&self, key: &str, range: ByteRange, if_match: Option<&str>) -> Result<Self::Reader>;
    /// The last bytes of objects, at most `length` of each: for all of them at once
    /// as far as the storage can. The answers are in the order of the keys, and each
    /// is for itself.
    fn read_ends(&self, keys: &[&str], length: u64) -> Result<Vec<End>> {
        one_by_one(self, keys, length)
    }
    /// The facts of an object.
    fn stat(&self, key: &str) -> Result<ObjectInfo>;
    /// Deletes an object.
    fn delete(&self, key: &str, precondition: Precondition) -> Result<()>;
    /// Objects in the order of their keys, at most `limit`.
    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>>;
}

/// [`Storage::read_ends`] of a storage that reads one object at a time.
pub(crate) fn one_by_one<S: Storage>(storage: &S, keys: &[&str], length: u64) -> Result<Vec<End>> {
    let read = |key: &&str| {
        let mut reader = storage.open_read(key, ByteRange::Suffix(length), None)?;
        let info = reader.info();
        let bytes = read_all(&mut reader, usize::try_from(length).unwrap_or(usize::MAX))?;
        Ok((info, bytes))
    };
    Ok(keys.iter().map(read).collect())
}

/// The most that is asked of an object in one call.
const CHUNK: usize = 1 << 20;

/// Reads to the end of a range that has at most `most` bytes.
pub(crate) fn read_all(reader: &mut impl Reader, most: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < most {
        let want = u32::try_from((most - bytes.len()).min(CHUNK)).unwrap_or(u32::MAX);
        let chunk = reader.read(want)?;
        if chunk.is_empty() {
            break;
        }
        if bytes.is_empty() {
            bytes = chunk;
        } else {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(bytes)
}

/// An object being written; dropped without commit, it aborts.
pub trait Writer {
    /// Appends bytes.
    fn write(&mut self, chunk: &[u8]) -> Result<()>;
    /// Makes the object visible.
    fn commit(self) -> Result<ObjectInfo>;
}

/// An object being read.
pub trait Reader {
    /// The whole object's facts.
    fn info(&self) -> ObjectInfo;
    /// The next bytes, at most `max`; none only at the end.
    fn read(&mut self, max: u32) -> Result<Vec<u8>>;
}
