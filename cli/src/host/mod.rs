//! The interface between the commands and what they run on.

mod streams;
mod timeline;

use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use persist_model::{
    ErrorCode, ListFilter, Permissions, PersistError, Policy, Precondition, Result, SnapshotMetadata, SnapshotOptions, StepSelector,
};
use persist_paths::StorageLocation;
use persist_paths::timeline::HINT;

pub(crate) use self::streams::Stdout;
pub use self::streams::{
    DiffSource, Differences, Done, Entries, FileWriter, Keys, Object, Objects, Page, Progress, Reader, TotalProgress, Writer,
};
pub use self::timeline::{Access, Checks, History, Timeline};

use crate::choices::{Durability, IfExists};
use crate::output::Output;

/// What to list.
#[derive(Clone, Default)]
pub struct Search {
    /// Which snapshots to return.
    pub filter: ListFilter,
    /// Whether to read every object, even those that an index already knows.
    pub is_fresh: bool,
}

/// Whether an object of a listing has a key. A name that is none belongs to no timeline.
pub(crate) fn is_key(object: &Result<Object>) -> bool {
    !matches!(object, Err(error) if error.code() == ErrorCode::InvalidKey)
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

    /// Returns the folder of a timeline and a step of it, if the text names one: a timeline with
    /// the step in `at`, or `TIMELINE@STEP`.
    ///
    /// # Errors
    /// `Configuration` if `at` does not select a step, or the text is not a location.
    fn named_step(&self, text: &str, at: Option<&str>) -> Result<Option<(StorageLocation, StepSelector)>> {
        let now = SystemTime::now();
        let is_there = |text: &str| matches!(self.locate(text), Ok(StorageLocation::Local { root, key }) if root.join(&key).exists());
        let (folder, selector) = match (at, text.rsplit_once('@')) {
            (Some(at), _) => (text, StepSelector::parse(at, now)?),
            // What looks like a step may be the name of a file or a folder.
            (None, Some((folder, step))) if !step.contains('/') && !is_there(text) => match StepSelector::parse(step, now) {
                Ok(selector) => (folder, selector),
                Err(error) if is_there(&format!("{folder}/{HINT}")) => return Err(error),
                Err(_) => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some((self.locate_folder(folder, false)?, selector)))
    }

    /// Returns the location of a step, if the text names one as for
    /// [`named_step`](Self::named_step).
    ///
    /// # Errors
    /// Those of [`named_step`](Self::named_step), `NotFound` if there is no such step, and errors
    /// of the storage.
    fn locate_step(&self, text: &str, at: Option<&str>) -> Result<Option<StorageLocation>> {
        let Some((place, selector)) = self.named_step(text, at)? else { return Ok(None) };
        let step = self.timeline(&place, Access::Read)?.find(&selector)?;
        Ok(Some(place.with_key(&step.metadata.key)))
    }

    /// Opens the timeline in a folder. Reads nothing yet.
    ///
    /// # Errors
    /// Errors of the storage.
    fn timeline(&self, folder: &StorageLocation, access: Access) -> Result<Box<dyn Timeline>>;

    /// Applies a policy to the snapshots of one session that are no timeline, given from the
    /// oldest to the newest. Returns for each the rules that keep it; none if it is not kept.
    ///
    /// # Errors
    /// `Configuration` for a policy without rules.
    fn apply_policy(&self, policy: &Policy, snapshots: &[SnapshotMetadata]) -> Result<Vec<Vec<String>>>;

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

    /// Parses the location of a folder to write to, as [`locate_to_write`](Self::locate_to_write)
    /// does that of a snapshot. It need not exist.
    ///
    /// # Errors
    /// Those of [`locate_folder`](Self::locate_folder) and `InvalidKey`.
    fn locate_folder_to_write(&self, text: &str) -> Result<StorageLocation>;

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

    /// Begins to read a step of the timeline in a folder. Also returns its location.
    ///
    /// # Errors
    /// `NotFound` if there is no such step, and those of [`reader`](Self::reader).
    fn step_reader(&self, folder: &StorageLocation, step: &StepSelector, output: &Path) -> Result<(StorageLocation, Box<dyn Reader>)>;

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

    /// Lists the objects whose keys begin with the key of `place`, whatever they contain, in the
    /// byte order of the keys. A name that can't be a key is an `InvalidKey`.
    ///
    /// # Errors
    /// Those of [`list`](Self::list).
    fn objects(&self, place: &StorageLocation) -> Result<Objects>;

    /// Lists the keys that begin with the key of `place`, whatever the objects contain.
    ///
    /// # Errors
    /// Those of [`list`](Self::list).
    fn keys(&self, place: &StorageLocation) -> Result<Keys> {
        Ok(Box::new(self.objects(place)?.map(|object| object.map(|object| object.key))))
    }

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
