//! The contract of a storage: [`StorageAdapter`].

use std::fmt;
use std::sync::Arc;

use persist_model::files::DELETE_IF_ABSENT;
use persist_model::{ErrorCode, Permissions, PersistError, Precondition, Result};
use persist_paths::StorageLocation;

use crate::cancel::CancelToken;
use crate::storage::types::{
    Capabilities, DeleteFailure, HealthCheck, LevelEntry, Listing, ObjectInfo, ReadAnswer, ReadOptions, ReadRequest, WriteOptions,
};

/// A place that keeps objects: named sequences of bytes that are written whole, read in
/// part, listed and deleted.
///
/// The `storage` interface in `wit/storage.wit` is the contract, and one conformance
/// suite tests every adapter against it. In short:
///
/// - A key has 1 to 1024 bytes, in parts separated by `/`. No part is empty, `.` or
///   `..`, and no character is a control character. An adapter may refuse more keys,
///   with [`ErrorCode::InvalidKey`]. No key leads out of the storage.
/// - An object appears as a whole when its writer is committed, or not at all.
/// - A range past the end is shorter or empty, never an error.
/// - `NotFound` is returned only when it is certain.
/// - An adapter retries what is worth retrying before it fails.
///
/// `save`, `load`, `exists` and `delete` are conveniences over these methods for whole
/// objects at a [`StorageLocation`].
pub trait StorageAdapter: Send + Sync + fmt::Debug {
    /// Returns what the storage is and where, for people: `files in /srv/agents`.
    fn summary(&self) -> String;

    /// Returns the location of a key as a user would write it.
    fn locate(&self, key: &str) -> String;

    /// Returns what this storage supports. Anything that it does not claim is
    /// `Unsupported`.
    fn capabilities(&self) -> Capabilities;

    /// Begins to write an object.
    ///
    /// # Errors
    /// `InvalidKey`, `Unsupported` preconditions, and any error of the storage. An
    /// adapter may return `AlreadyExists` at this point.
    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>>;

    /// Begins to read an object.
    ///
    /// # Errors
    /// `NotFound`, `InvalidKey`, `PreconditionFailed`, and any error of the storage.
    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>>;

    /// Returns what is known of an object without reading it.
    ///
    /// # Errors
    /// `NotFound` and any error of the storage.
    fn stat(&self, key: &str) -> Result<ObjectInfo>;

    /// Deletes an object.
    ///
    /// # Errors
    /// `NotFound`, `PreconditionFailed`, `Unsupported` preconditions, and any error of
    /// the storage.
    fn delete_object(&self, key: &str, precondition: Precondition) -> Result<()>;

    /// Lists at most `limit` objects whose keys begin with `prefix` and come after
    /// `start_after`, in the byte order of their keys. Fewer than `limit` means that
    /// there are no more.
    ///
    /// Nothing is left out silently. A folder that can't be read is an entry whose key
    /// ends with `/`, and a name that can't be a key is an entry too. Reading such an
    /// entry fails with the reason.
    ///
    /// # Errors
    /// Any error of the storage. A place that does not exist yet is empty.
    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>>;

    /// Reads ranges of one or more objects, at once as far as the storage can. The
    /// answers are in the order of the requests, and each succeeds or fails by itself.
    ///
    /// # Errors
    /// An error that ends all reads, such as `Cancelled`.
    fn read_many(&self, requests: &[ReadRequest]) -> Result<Vec<Result<ReadAnswer>>> {
        let read = |request: &ReadRequest| {
            let options = ReadOptions { range: request.range, if_match: request.if_match.clone() };
            let mut reader = self.open_read(&request.key, options)?;
            let bytes = read_to_end(&mut *reader)?;
            Ok(ReadAnswer { info: reader.info().clone(), bytes })
        };
        Ok(requests.iter().map(read).collect())
    }

    /// Deletes objects. Missing objects are ignored. Returns those that could not be
    /// deleted.
    ///
    /// # Errors
    /// An error that ends all deletes, such as `Cancelled`.
    fn delete_many(&self, keys: &[String]) -> Result<Vec<DeleteFailure>> {
        let delete = |key: &String| match self.delete_object(key, Precondition::None) {
            Ok(()) | Err(PersistError::NotFound(_)) => None,
            Err(error) => Some(DeleteFailure { key: key.clone(), error }),
        };
        Ok(keys.iter().filter_map(delete).collect())
    }

    /// Removes the folders of these keys that are now empty, but only those below the
    /// key prefix `folder`, which ends with `/` or is empty. Does nothing in a storage
    /// without real folders.
    fn remove_empty_folders(&self, folder: &str, keys: &[String]) {
        let _ = (folder, keys);
    }

    /// Lists a single level. Unlike in [`list_objects`](Self::list_objects), all keys
    /// that have a `/` after `prefix` and are equal up to that `/` are one entry, named
    /// by this common part. All entries come after `start_after`. For the next page,
    /// `start_after` is the last entry of this page, of either kind.
    ///
    /// # Errors
    /// As [`list_objects`](Self::list_objects).
    fn list_level(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<LevelEntry>> {
        let mut after = start_after.map(|after| after_level(prefix, after));
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
                Some(level) => after = Some(after_level(prefix, &level)),
                None if is_last => break,
                None => {}
            }
        }
        Ok(entries)
    }

    /// Returns an iterator over everything that [`list_objects`](Self::list_objects)
    /// would list, and over what can't be listed, each in its place. None if the
    /// storage has nothing better than pages.
    fn walk(&self, prefix: &str, start_after: Option<&str>) -> Option<Listing> {
        let _ = (prefix, start_after);
        None
    }

    /// Returns who may read, write and execute the file of an object, as in
    /// [`WriteOptions::permissions`]. None if objects are not files, or there is no
    /// such file.
    fn permissions(&self, key: &str) -> Option<Permissions> {
        let _ = key;
        None
    }

    /// Returns the same storage with a token that cancels its waits. None if nothing
    /// takes long.
    fn with_cancel(&self, cancel: &CancelToken) -> Option<Arc<dyn StorageAdapter>> {
        let _ = cancel;
        None
    }

    /// Returns a name that identifies this place, under which the content of its
    /// objects may be cached by etag. None if looking at the objects is cheap.
    fn identity(&self) -> Option<String> {
        None
    }

    /// Returns how many small operations a caller with many of them should run at once.
    fn parallelism(&self) -> usize {
        1
    }

    /// Returns how much memory, in bytes, reading or writing an object of this size
    /// takes at most, in addition to what the caller holds.
    fn buffered(&self, object_size: u64) -> u64 {
        object_size.min(u64::from(MAX_READ))
    }

    /// Checks what [`check_health`](crate::storage::check_health) needs before it
    /// writes: credentials, and whether the place can be reached at all. `prefix` is
    /// what the keys there begin with.
    fn access_checks(&self, prefix: &str) -> Vec<HealthCheck> {
        let _ = prefix;
        Vec::new()
    }

    /// Writes a whole object.
    ///
    /// # Errors
    /// Those of [`open_write`](Self::open_write), and `Configuration` for a location
    /// that is not in this storage.
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

    /// Returns whether an object exists. An error is never reported as false.
    ///
    /// # Errors
    /// Those of [`stat`](Self::stat) except `NotFound`, and `Configuration` for a
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

/// Writes an object. Dropping it without a commit aborts the write.
pub trait StorageWriter: Send {
    /// Appends bytes. After an error, the writer can only be dropped.
    ///
    /// # Errors
    /// Any error of the storage.
    fn write(&mut self, chunk: &[u8]) -> Result<()>;

    /// Appends a range of another object of this storage: all of the range, or an
    /// error. `if_match` is as in [`ReadOptions`]. After an error, the writer can only
    /// be dropped.
    ///
    /// # Errors
    /// `Unsupported` unless [`Capabilities::copy_range`] is claimed, `Io` for a range
    /// past the end, and any error of the storage.
    fn copy_range(&mut self, source: &str, offset: u64, length: u64, if_match: Option<&str>) -> Result<()> {
        let _ = (source, offset, length, if_match);
        Err(PersistError::new(ErrorCode::Unsupported, "this storage can't copy ranges"))
    }

    /// Makes the object visible under its key, as a whole.
    ///
    /// # Errors
    /// A precondition that does not hold, and any error of the storage. The code says
    /// what became of the write. With [`ErrorCode::NotDurable`], the object is there,
    /// but a power cut may undo it. With [`ErrorCode::OutcomeUnknown`], it may or may
    /// not be there. With any other code, it is not there, and the earlier object is
    /// unchanged.
    fn commit(self: Box<Self>) -> Result<ObjectInfo>;
}

/// Reads an object. All bytes are of one version of the object.
pub trait StorageReader: Send {
    /// Returns what is known of the whole object, whatever the range.
    fn info(&self) -> &ObjectInfo;

    /// Reads the next bytes, at least one and at most `max`, or none at the end. A
    /// `max` of 0 returns none and changes nothing.
    ///
    /// # Errors
    /// Any error of the storage.
    fn read(&mut self, max: u32) -> Result<Vec<u8>>;
}

/// The most bytes that one read returns, whatever `max` is. A guest must not decide how
/// much the host allocates.
pub(crate) const MAX_READ: u32 = 8 << 20;

/// The error of a delete with a precondition that it can't have.
pub(crate) fn delete_if_absent() -> PersistError {
    PersistError::new(ErrorCode::InvalidArgument, DELETE_IF_ABSENT)
}

/// Returns whether an upload in progress is gone, for example because a lifecycle rule
/// of the bucket aborted it. Nothing of it was stored.
pub(crate) fn is_lost_upload(error: &PersistError) -> bool {
    let says_so = |(name, value): &(String, String)| name == "service_code" && value == "NoSuchUpload";
    error.code() == ErrorCode::Refused && error.detail().facts.iter().any(says_so)
}

/// The most bytes in a key.
const MAX_KEY: usize = 1024;

/// Returns the key to list after. If `name` is a level below `prefix`, it comes after
/// every key of that level. Any other name is returned unchanged.
pub(crate) fn after_level(prefix: &str, name: &str) -> String {
    let is_level = name.ends_with('/') && name.len() > prefix.len();
    // No character sorts after this one, and no key is longer.
    let rest = if is_level { MAX_KEY.saturating_sub(name.len()) / 4 } else { 0 };
    format!("{name}{}", "\u{10ffff}".repeat(rest))
}

/// Reads all bytes of a range.
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

/// Appends a range of one object to another, through this process.
pub(crate) fn copy_through(writer: &mut dyn StorageWriter, reader: &mut dyn StorageReader, length: u64) -> Result<()> {
    let mut left = length;
    while left > 0 {
        let chunk = reader.read(u32::try_from(left).unwrap_or(MAX_READ).min(MAX_READ))?;
        if chunk.is_empty() {
            let message = format!("the source object ends {left} bytes before the end of the requested range");
            return Err(PersistError::new(ErrorCode::Io, message));
        }
        left = left.saturating_sub(chunk.len() as u64);
        writer.write(&chunk)?;
    }
    Ok(())
}

/// Returns the key of a location in this storage, if the location is in it.
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

/// Returns the listing entry of a name that can't be a key, with the reason.
pub(crate) fn not_a_key(path: &[u8], problem: &str, storage: &dyn StorageAdapter) -> (String, PersistError) {
    let text: String = path
        .utf8_chunks()
        .flat_map(|chunk| {
            let strange = chunk.invalid().iter().flat_map(|byte| byte.escape_ascii()).map(char::from);
            chunk.valid().chars().chain(strange)
        })
        .collect();
    let error = PersistError::new(ErrorCode::InvalidKey, format!("the name can't be a key: {problem}"));
    let error = error.at(storage.locate(&text)).hint("rename it; if the path is too long, list the folder that contains it");
    (text, error)
}
