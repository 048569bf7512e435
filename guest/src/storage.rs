//! The storage, as the library sees it. It follows the interface `storage` of the WIT
//! contract, whose documentation also applies here.

pub use persist_model::Precondition;

use crate::error::{Error, Result};

/// How to write an object.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Checked at commit.
    pub precondition: Precondition,
    /// The largest size that the object is expected to have, in bytes; a hint.
    pub object_size_hint: Option<u64>,
    /// The media type of the object.
    pub content_type: Option<String>,
    /// Names and values to keep with the object.
    pub attributes: Vec<(String, String)>,
}

/// Which bytes of an object to read. Bytes past the end are left out.
#[derive(Clone, Copy, Debug)]
pub enum ByteRange {
    /// The whole object.
    All,
    /// `length` bytes from `offset`.
    Span {
        /// The first byte, starting at 0.
        offset: u64,
        /// The number of bytes.
        length: u64,
    },
    /// This many bytes at the end.
    Suffix(u64),
}

/// What is known about an object without reading it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Changes when the object is replaced.
    pub etag: Option<String>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub modified: Option<u64>,
    /// The storage's own clock when it responded, in milliseconds.
    pub storage_time: Option<u64>,
}

/// The info of an object, and all bytes of a range of it.
pub type Part = Result<(ObjectInfo, Vec<u8>)>;

/// A storage of objects. Clones are handles to the same storage.
pub trait Storage: Clone {
    /// An object being written.
    type Writer: Writer;
    /// An object being read.
    type Reader: Reader;

    /// Starts writing an object.
    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Self::Writer>;
    /// Starts reading an object, which must have this etag if one is given.
    fn open_read(&self, key: &str, range: ByteRange, if_match: Option<&str>) -> Result<Self::Reader>;
    /// Reads one range of each of several objects, in the order of the requests; at the
    /// same time if the storage can. Each may fail on its own. No range is
    /// [`ByteRange::All`], and together they have at most [`MAX_READ_MANY`] bytes.
    fn read_many(&self, requests: &[(String, ByteRange)]) -> Result<Vec<Part>> {
        one_by_one(self, requests)
    }
    /// Reads the last bytes of objects, at most `length` of each, as
    /// [`read_many`](Self::read_many).
    fn read_ends(&self, keys: &[&str], length: u64) -> Result<Vec<Part>> {
        self.read_many(&keys.iter().map(|key| ((*key).to_owned(), ByteRange::Suffix(length))).collect::<Vec<_>>())
    }
    /// Returns the info of an object.
    fn stat(&self, key: &str) -> Result<ObjectInfo>;
    /// Deletes an object.
    fn delete(&self, key: &str, precondition: Precondition) -> Result<()>;
    /// Returns at most `limit` objects, in the order of their keys.
    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>>;
}

/// [`Storage::read_many`] for a storage that reads one object at a time.
pub(crate) fn one_by_one<S: Storage>(storage: &S, requests: &[(String, ByteRange)]) -> Result<Vec<Part>> {
    let read = |(key, range): &(String, ByteRange)| {
        let mut reader = storage.open_read(key, *range, None)?;
        let info = reader.info();
        Ok((info, read_all(&mut reader, MAX_READ_MANY as usize)?))
    };
    Ok(requests.iter().map(read).collect())
}

/// The most bytes that [`Storage::read_many`] reads in one call.
pub const MAX_READ_MANY: u64 = 8 << 20;

/// The most bytes to read from a storage, or to write to it, in one call.
pub(crate) const CHUNK: usize = 1 << 20;

/// Reads a range to its end. It has at most `most` bytes.
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

/// Reads a range that must have exactly `length` bytes.
pub(crate) fn read_exact(reader: &mut impl Reader, length: usize) -> Result<Vec<u8>> {
    let bytes = read_all(reader, length)?;
    if bytes.len() == length { Ok(bytes) } else { Err(Error::short_read(bytes.len() as u64, length as u64)) }
}

/// An object being written. Dropped without a commit, it aborts the write.
pub trait Writer {
    /// Appends bytes.
    fn write(&mut self, chunk: &[u8]) -> Result<()>;
    /// Makes the object visible.
    fn commit(self) -> Result<ObjectInfo>;
}

/// An object being read.
pub trait Reader {
    /// Returns the info of the whole object.
    fn info(&self) -> ObjectInfo;
    /// Returns the next bytes: at most `max`, and none only at the end.
    fn read(&mut self, max: u32) -> Result<Vec<u8>>;
}
