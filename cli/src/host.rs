//! The interface between the commands and what they run on.

use std::io::{self, Read, Write};
use std::path::Path;

use persist_model::{
    Change, DiffKind, ErrorCode, ListEntry, ListFilter, Permissions, PersistError, Precondition, Result, SnapshotMetadata, SnapshotOptions,
};
use persist_paths::StorageLocation;

use crate::choices::{Durability, IfExists};
use crate::output::Output;

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
    fn end(self: Box<Self>) {}
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

/// The keys of a listing, which ends after an error.
pub type Keys = Box<dyn Iterator<Item = Result<String>> + Send>;

/// What to list.
#[derive(Clone, Default)]
pub struct Search {
    /// Which snapshots to return.
    pub filter: ListFilter,
    /// Whether to read every object, even those that an index already knows.
    pub is_fresh: bool,
}

/// What a command runs on: natively an engine and the storages it can reach, in a
/// component whatever the component is composed with.
pub trait Host: Sync {
    /// Parses a location.
    ///
    /// # Errors
    /// `Configuration` if the text is not a location.
    fn locate(&self, text: &str) -> Result<StorageLocation>;

    /// Parses a location to read from or write to, following a symlink.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate).
    fn locate_followed(&self, text: &str) -> Result<StorageLocation>;

    /// Parses a location to write a snapshot to. A listing must be able to find the
    /// snapshot, and a symlink must not belong to another user.
    ///
    /// # Errors
    /// Those of [`locate`](Self::locate), `InvalidKey` and `AccessDenied`.
    fn locate_to_write(&self, text: &str) -> Result<StorageLocation>;

    /// Returns the location of a step of a timeline, if the text names one: a timeline with
    /// the step in `at`, or `TIMELINE@STEP`.
    ///
    /// # Errors
    /// `Configuration` if `at` does not select a step, `NotFound` if there is no such step,
    /// and errors of the storage.
    fn locate_step(&self, _text: &str, at: Option<&str>) -> Result<Option<StorageLocation>> {
        match at {
            None => Ok(None),
            Some(_) => Err(PersistError::new(ErrorCode::Unsupported, "this host has no timelines")),
        }
    }

    /// Deletes the timeline in a folder, and returns how many steps it had.
    ///
    /// # Errors
    /// `Conflict` if another writer has just appended, and errors of the storage.
    fn delete_timeline(&self, folder: &StorageLocation, _durability: Durability) -> Result<u64> {
        Err(PersistError::new(ErrorCode::Unsupported, "this host has no timelines").at(folder))
    }

    /// Returns the folders of timelines below `place` of which a deletion that was broken off
    /// has left steps.
    ///
    /// # Errors
    /// Errors of the storage.
    fn unfinished_deletions(&self, _place: &StorageLocation) -> Result<Vec<StorageLocation>> {
        Ok(Vec::new())
    }

    /// Returns a location as text that the next command accepts.
    ///
    /// # Errors
    /// `Io` if the path cannot be made absolute.
    fn written(&self, location: &StorageLocation) -> Result<String>;

    /// Parses the location of a folder; its key is the prefix of the keys in it. In a
    /// bucket, every folder counts as existing.
    ///
    /// # Errors
    /// `Configuration` if the text is not a folder, and `NotFound` if the folder has to
    /// exist and does not.
    fn locate_folder(&self, text: &str, has_to_exist: bool) -> Result<StorageLocation>;

    /// Returns whether stdin is closed or `/dev/null`, as far as the host can tell.
    fn is_stdin_closed(&self) -> bool {
        false
    }

    /// Returns advice for a state file that does not exist.
    fn missing_advice(&self, _state: &Path) -> &'static str {
        "check the path"
    }

    /// Returns whether a state file is the file at a location, by any path or link.
    fn is_same_file(&self, state: &Path, location: &StorageLocation) -> bool;

    /// Returns an iterator over the parts of a state, the last of which is empty. If the
    /// host can, it makes waiting for a part interruptible.
    ///
    /// # Errors
    /// Each call may fail to read the part, or be cancelled while waiting for it.
    fn parts(&self, state: Box<dyn Read + Send>) -> Box<dyn FnMut() -> Result<io::Result<Vec<u8>>>>;

    /// Begins to write a snapshot. `permissions` are those of the state's file, including
    /// its group; a local file gets them if the host supports permissions.
    ///
    /// # Errors
    /// Errors of the storage, and `Configuration` for invalid options.
    fn writer(
        &self,
        location: &StorageLocation,
        options: SnapshotOptions,
        durability: Durability,
        permissions: Option<Permissions>,
    ) -> Result<Box<dyn Writer>>;

    /// Begins to read a snapshot whose state goes to `output` (`-` is stdout).
    ///
    /// # Errors
    /// Damage in the snapshot, and errors of the storage.
    fn reader(&self, location: &StorageLocation, output: &Path) -> Result<Box<dyn Reader>>;

    /// Begins to read a step of a timeline, if the text names one. Also returns its location.
    ///
    /// # Errors
    /// Those of [`locate_step`](Self::locate_step) and [`reader`](Self::reader).
    fn step_reader(&self, text: &str, at: Option<&str>, output: &Path) -> Result<Option<(StorageLocation, Box<dyn Reader>)>> {
        let Some(location) = self.locate_step(text, at)? else { return Ok(None) };
        let reader = self.reader(&location, output)?;
        Ok(Some((location, reader)))
    }

    /// Reads the metadata of a snapshot.
    ///
    /// # Errors
    /// Damage in the snapshot, and errors of the storage.
    fn metadata(&self, location: &StorageLocation) -> Result<SnapshotMetadata>;

    /// Checks every byte of a snapshot.
    ///
    /// # Errors
    /// Damage in the snapshot, and errors of the storage.
    fn verify(&self, location: &StorageLocation, progress: Progress<'_>) -> Result<SnapshotMetadata>;

    /// Compares two states.
    ///
    /// # Errors
    /// Damage in a snapshot, and errors of the storage.
    fn diff(&self, before: DiffSource, after: DiffSource) -> Result<Box<dyn Differences>>;

    /// Returns where a long text for people goes: to a pager if stdout is a terminal and the
    /// host can start one, otherwise to stdout.
    fn page(&self, _has_pager: bool) -> Box<dyn Page> {
        Box::new(Stdout)
    }

    /// Returns whether an object exists at a location.
    ///
    /// # Errors
    /// Errors of the storage.
    fn exists(&self, location: &StorageLocation) -> Result<bool>;

    /// Deletes the object at a location.
    ///
    /// # Errors
    /// Errors of the storage, including a failed precondition.
    fn delete(&self, location: &StorageLocation, precondition: Precondition, durability: Durability) -> Result<()>;

    /// Lists the objects whose keys begin with the key of `place`, in natural order:
    /// numbers in keys are compared as numbers.
    ///
    /// # Errors
    /// Errors of the storage at the start; a later error is the last entry.
    fn list(&self, place: &StorageLocation, search: &Search) -> Result<Entries<'static>>;

    /// Lists the keys that begin with the key of `place`, whatever the objects contain.
    ///
    /// # Errors
    /// Those of [`list`](Self::list).
    fn keys(&self, place: &StorageLocation) -> Result<Keys>;

    /// Deletes objects of one storage, as many at once as the storage can. Missing
    /// objects are ignored. Returns those that could not be deleted.
    ///
    /// # Errors
    /// An error that ends the whole operation.
    fn delete_many(&self, place: &StorageLocation, keys: &[String], durability: Durability) -> Result<Vec<(String, PersistError)>>;

    /// Removes the folders of these keys that are empty now and lie below the folder
    /// `place`; with `and_itself` also that folder, unless it is the current one. Does
    /// nothing in a storage that has no folders of its own.
    fn remove_empty_folders(&self, place: &StorageLocation, keys: &[String], and_itself: bool);

    /// Starts the threads that the work depends on before others are started, in case
    /// threads are scarce. Errors are reported later, when the threads are needed.
    fn prepare(&self) {}

    /// Returns the best number of snapshots to work on at once in the storage of a
    /// location.
    fn parallelism(&self, location: &StorageLocation) -> usize {
        let _ = location;
        1
    }

    /// Creates a file for a state, with the permissions of the snapshot's file at
    /// `source` if the host supports permissions.
    ///
    /// # Errors
    /// `Configuration` if `path` is not a path, `AlreadyExists` if the file exists and
    /// must not be replaced (also from [`FileWriter::commit`], if it was created in the
    /// meantime), and I/O errors.
    fn create_file(&self, path: &Path, size: Option<u64>, if_exists: IfExists, source: &StorageLocation) -> Result<Box<dyn FileWriter>>;

    /// Shows the progress of work on `total` bytes if stderr is a terminal. `doing` is
    /// one word.
    fn progress(&self, output: &Output, doing: &'static str, total: Option<u64>) -> Progress<'static>;

    /// Shows the progress of work on several snapshots together.
    fn total_progress(&self, output: &Output, doing: &'static str) -> TotalProgress;
}
