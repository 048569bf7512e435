//! A timeline, as the commands use it.

use persist_model::{Checked, HistoryEntry, ListFilter, OnConflict, Policy, PruneReport, Result, SnapshotOptions, Step, StepSelector};

use crate::choices::Durability;

/// What is done with a timeline.
#[derive(Clone, Copy)]
pub enum Access {
    /// It is only read.
    Read,
    /// It is changed.
    Write(Durability),
}

/// The steps of a timeline, from the newest to the oldest. Ends after an error.
pub type History<'a> = Box<dyn Iterator<Item = Result<HistoryEntry>> + 'a>;

/// What a check has looked at. Ends after an error.
pub type Checks<'a> = Box<dyn Iterator<Item = Result<Checked>> + 'a>;

/// A timeline. Errors name the step or the folder.
pub trait Timeline {
    /// Returns the folder as a user would write it.
    fn location(&self) -> String;

    /// Appends a state as the next step. `next` returns the parts of the state, the last of which
    /// is empty.
    ///
    /// # Errors
    /// Those of `next`, `AlreadyExists` if another writer was faster, and errors of the storage.
    fn append(&mut self, next: &mut dyn FnMut() -> Result<Vec<u8>>, options: &SnapshotOptions, on_conflict: OnConflict) -> Result<Step>;

    /// Writes down that the newest step that was appended here is there.
    ///
    /// # Errors
    /// Errors of the storage. The step is stored all the same.
    fn finish(&mut self) -> Result<()>;

    /// Returns a step.
    ///
    /// # Errors
    /// `NotFound`, `Integrity` if the newest step is damaged, and errors of the storage.
    fn find(&self, wanted: &StepSelector) -> Result<Step>;

    /// Restores the state of a step into memory.
    ///
    /// # Errors
    /// Those of [`find`](Self::find).
    fn load(&self, number: u64) -> Result<Vec<u8>>;

    /// Iterates over the steps that match a filter, from the newest to the oldest. `limit` says
    /// how many are wanted, if not all are.
    ///
    /// # Errors
    /// `Integrity` if the end of the timeline was lost, and errors of the storage.
    fn history(&self, filter: ListFilter, limit: Option<u32>) -> Result<History<'_>>;

    /// Checks all steps, from the oldest to the newest, and then the other objects.
    ///
    /// # Errors
    /// Errors of the storage.
    fn check(&self, read_data: bool) -> Result<Checks<'_>>;

    /// Rewrites what is derived from the steps, and hides damaged steps if they are to be
    /// forgotten. Returns how many objects were written or removed.
    ///
    /// # Errors
    /// `Integrity` if the newest step is damaged and not to be forgotten, and errors of the
    /// storage.
    fn repair(&mut self, forget_damaged: bool) -> Result<u64>;

    /// Removes the steps that a policy does not keep; with `dry_run`, only says what would happen.
    ///
    /// # Errors
    /// `Configuration` for a policy without rules, and errors of the storage.
    fn prune(&mut self, policy: &Policy, dry_run: bool) -> Result<PruneReport>;

    /// Deletes the timeline. Returns how many steps it had.
    ///
    /// # Errors
    /// `Conflict` if another writer has just appended, and errors of the storage.
    fn delete(&mut self) -> Result<u64>;

    /// Deletes the timeline, unless a step was appended after `newest`.
    ///
    /// # Errors
    /// Those of [`delete`](Self::delete).
    fn delete_after(&mut self, newest: u64) -> Result<u64>;
}
