//! What does a command's work.

use std::io::{self, Read};
use std::path::Path;

use persist_model::{ListEntry, Permissions, PersistError, Precondition, Result, SnapshotMetadata, SnapshotOptions, StorageLocation};

use crate::output::Output;
use crate::search::Search;
use crate::{Durability, IfExists};

/// A snapshot being written. Dropped without commit, it leaves nothing.
pub trait Writer {
    /// Appends to the state.
    ///
    /// # Errors
    /// What the storage says.
    fn write(&mut self, state: &[u8]) -> Result<()>;

    /// Makes the snapshot visible.
    ///
    /// # Errors
    /// What the storage says, and what the precondition does.
    fn commit(self: Box<Self>) -> Result<SnapshotMetadata>;
}

/// A snapshot being read.
pub trait Reader {
    /// What the snapshot says of itself.
    fn metadata(&self) -> &SnapshotMetadata;

    /// The next part of the state, every byte of it checked; none at the end.
    ///
    /// # Errors
    /// What is wrong with the snapshot, and what the storage says.
    fn next_chunk(&mut self) -> Result<Option<Vec<u8>>>;
}

/// A file being written, which appears whole or not at all.
pub trait FileWriter {
    /// Appends to the file.
    ///
    /// # Errors
    /// What the disk says.
    fn write(&mut self, chunk: &[u8]) -> Result<()>;

    /// Makes the file visible.
    ///
    /// # Errors
    /// What the disk says.
    fn commit(self: Box<Self>) -> Result<()>;
}

/// Is told how many bytes are done so far: fewer than before, where work begins
/// anew. Dropped, it is told that all is over.
pub type Progress<'a> = Box<dyn FnMut(u64) + Send + 'a>;

/// How far the work on several snapshots is.
#[derive(Clone, Copy, Default)]
pub struct Done {
    /// Snapshots that are finished.
    pub snapshots: u64,
    /// Bytes of these, and of those that are under way.
    pub bytes: u64,
}

/// As [`Progress`], for several snapshots together.
pub type TotalProgress = Box<dyn FnMut(Done) + Send>;

/// The objects of a listing; it ends after an error.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<ListEntry>> + Send + 'a>;

/// Keys of a listing; it ends after an error.
pub type Keys = Box<dyn Iterator<Item = Result<String>> + Send>;

/// What a command runs on: natively an engine and the storages that it can
/// reach, as a component what it was composed with.
pub trait Host: Sync {
    /// The location that a text means.
    ///
    /// # Errors
    /// `Configuration` for what is none.
    fn locate(&self, text: &str) -> Result<StorageLocation>;

    /// The same for who reads or writes, who follows a link.
    ///
    /// # Errors
    /// As [`locate`](Self::locate).
    fn locate_followed(&self, text: &str) -> Result<StorageLocation>;

    /// The same for who writes a snapshot, which has to be one that can be listed;
    /// a link of another user's may not be followed.
    ///
    /// # Errors
    /// As [`locate`](Self::locate), `InvalidKey` and `AccessDenied`.
    fn locate_to_write(&self, text: &str) -> Result<StorageLocation>;

    /// A location as it can be given to the next command.
    ///
    /// # Errors
    /// `Io` for a path that can't be told whole.
    fn written(&self, location: &StorageLocation) -> Result<String>;

    /// The folder that a text means: its key is what the keys in it begin with. In a
    /// bucket any may be there.
    ///
    /// # Errors
    /// `Configuration` for what is none, and `NotFound` if it has to exist and does not.
    fn locate_folder(&self, text: &str, has_to_exist: bool) -> Result<StorageLocation>;

    /// Whether stdin was closed, or leads nowhere, as far as that can be told.
    fn is_stdin_closed(&self) -> bool {
        false
    }

    /// What to do where a state's file is not there.
    fn missing_advice(&self, _state: &Path) -> &'static str {
        "check the path"
    }

    /// Whether a state's file, by whatever path or link, is the one at a location.
    fn is_same_file(&self, state: &Path, location: &StorageLocation) -> bool;

    /// The state in parts, the last of them empty. Whoever waits for one can be
    /// interrupted, where the host can do that.
    ///
    /// # Errors
    /// Each part may fail to be read, and the waiting for it be cancelled.
    fn parts(&self, state: Box<dyn Read + Send>) -> Box<dyn FnMut() -> Result<io::Result<Vec<u8>>>>;

    /// Begins to write a snapshot. A file gets these permissions, if the host has
    /// such a thing: those of the state's file, and its group.
    ///
    /// # Errors
    /// What the storage says, and `Configuration` for options that are not valid.
    fn writer(
        &self,
        location: &StorageLocation,
        options: SnapshotOptions,
        durability: Durability,
        permissions: Option<Permissions>,
    ) -> Result<Box<dyn Writer>>;

    /// Begins to read a snapshot, whose state goes to `output` (`-` is stdout).
    ///
    /// # Errors
    /// What is wrong with the snapshot, and what the storage says.
    fn reader(&self, location: &StorageLocation, output: &Path) -> Result<Box<dyn Reader>>;

    /// What a snapshot says of itself.
    ///
    /// # Errors
    /// What is wrong with the snapshot, and what the storage says.
    fn metadata(&self, location: &StorageLocation) -> Result<SnapshotMetadata>;

    /// Checks all of a snapshot.
    ///
    /// # Errors
    /// What is wrong with the snapshot, and what the storage says.
    fn verify(&self, location: &StorageLocation, progress: Progress<'_>) -> Result<SnapshotMetadata>;

    /// Whether there is something.
    ///
    /// # Errors
    /// What the storage says.
    fn exists(&self, location: &StorageLocation) -> Result<bool>;

    /// Deletes what is there.
    ///
    /// # Errors
    /// What the storage says, and what the precondition does.
    fn delete(&self, location: &StorageLocation, precondition: Precondition, durability: Durability) -> Result<()>;

    /// The objects in a place whose keys begin as its key does, in natural order:
    /// numbers in keys are compared as numbers.
    ///
    /// # Errors
    /// What the storage says at the beginning; what it says later is the last entry.
    fn list(&self, place: &StorageLocation, search: &Search) -> Result<Entries<'static>>;

    /// The keys in a place that begin as its key does, whatever the objects hold.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    fn keys(&self, place: &StorageLocation) -> Result<Keys>;

    /// Deletes objects of one place, as many at once as the storage can. Missing ones
    /// are ignored. Gives those that could not be deleted.
    ///
    /// # Errors
    /// What ends all of it.
    fn delete_many(&self, place: &StorageLocation, keys: &[String], durability: Durability) -> Result<Vec<(String, PersistError)>>;

    /// Removes the folders that these keys were in and that are empty now, below the
    /// one that the place's key names; and that one, if asked for, unless it is the
    /// current one. Where folders are only what keys have in common there are none.
    fn remove_empty_folders(&self, place: &StorageLocation, keys: &[String], and_itself: bool);

    /// Takes the threads that work can't do without, where they are few, before others
    /// are started. What is wrong is said where it is needed.
    fn prepare(&self) {}

    /// How many snapshots are best worked on at once in the place of a location.
    fn parallelism(&self, location: &StorageLocation) -> usize {
        let _ = location;
        1
    }

    /// A file of the user's that is written, with the permissions of the snapshot's
    /// file at `source`, if the host has such a thing.
    ///
    /// # Errors
    /// `Configuration` for what is no path, `AlreadyExists` for what is there and may
    /// not be replaced (also from [`FileWriter::commit`], if it came meanwhile), and
    /// what the disk says.
    fn create_file(&self, path: &Path, size: Option<u64>, if_exists: IfExists, source: &StorageLocation) -> Result<Box<dyn FileWriter>>;

    /// Shows how far the work on so many bytes is, where somebody is watching;
    /// `doing` is one word.
    fn progress(&self, output: &Output, doing: &'static str, total: Option<u64>) -> Progress<'static>;

    /// The same for several snapshots together.
    fn total_progress(&self, output: &Output, doing: &'static str) -> TotalProgress;
}
