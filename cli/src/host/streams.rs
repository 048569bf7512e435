//! What a host hands out: readers and writers of states, listings, and displays of progress.

use std::io::{self, Write};

use persist_model::{Change, DiffKind, ListEntry, Result, SnapshotMetadata};
use persist_paths::StorageLocation;

/// A snapshot being written. Dropping it without a commit stores nothing.
pub trait Writer {
    /// Appends to the state.
    ///
    /// # Errors
    /// Errors of the storage.
    fn write(&mut self, state: &[u8]) -> Result<()>;

    /// Makes the snapshot visible.
    ///
    /// # Errors
    /// Errors of the storage, including a failed precondition.
    fn commit(self: Box<Self>) -> Result<SnapshotMetadata>;
}

/// A snapshot being read.
pub trait Reader {
    /// Returns the snapshot's metadata.
    fn metadata(&self) -> &SnapshotMetadata;

    /// Returns the next part of the state, with every byte checked, or `None` at the end.
    ///
    /// # Errors
    /// Damage in the snapshot, and errors of the storage.
    fn next_chunk(&mut self) -> Result<Option<Vec<u8>>>;
}

/// A state to compare.
pub enum DiffSource {
    /// The state of a snapshot or step.
    Stored(StorageLocation),
    /// All bytes of an object.
    Object(StorageLocation),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// The differences between two states. Use either of its two forms.
pub trait Differences {
    /// Returns how the states are compared.
    fn kind(&self) -> DiffKind;

    /// Returns the next change of JSON states, or `None` at the end.
    ///
    /// # Errors
    /// Damage in a snapshot, and errors of the storage.
    fn next_change(&mut self) -> Result<Option<Change>>;

    /// Returns the next part of a description of all differences, or `None` at the end: a
    /// JSON Patch, the hunks of a unified diff, or a line for people.
    ///
    /// # Errors
    /// Damage in a snapshot, and errors of the storage.
    fn next_bytes(&mut self) -> Result<Option<Vec<u8>>>;
}

/// A file being written, which appears whole or not at all.
pub trait FileWriter {
    /// Appends to the file.
    ///
    /// # Errors
    /// I/O errors.
    fn write(&mut self, chunk: &[u8]) -> Result<()>;

    /// Makes the file visible.
    ///
    /// # Errors
    /// I/O errors.
    fn commit(self: Box<Self>) -> Result<()>;
}

/// Where a long text goes.
pub trait Page: Write {
    /// Ends the text, and waits until it was read.
    ///
    /// # Errors
    /// The text could not be shown.
    fn end(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The standard output.
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush()
    }
}

impl Page for Stdout {}

/// A callback that receives the number of bytes done so far, which falls if the work
/// starts over. Dropping it ends the display.
pub type Progress<'a> = Box<dyn FnMut(u64) + Send + 'a>;

/// The progress of work on several snapshots.
#[derive(Clone, Copy, Default)]
pub struct Done {
    /// The number of finished snapshots.
    pub snapshots: u64,
    /// The bytes done, including those of unfinished snapshots.
    pub bytes: u64,
}

/// Like [`Progress`], for several snapshots together.
pub type TotalProgress = Box<dyn FnMut(Done) + Send>;

/// The entries of a listing, which ends after an error.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<ListEntry>> + Send + 'a>;

/// An object in a listing, whatever it contains.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The objects of a listing, which ends after an error other than `InvalidKey`.
pub type Objects = Box<dyn Iterator<Item = Result<Object>> + Send>;

/// The keys of a listing, which ends after an error.
pub type Keys = Box<dyn Iterator<Item = Result<String>> + Send>;
