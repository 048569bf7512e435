//! Says what is different between two states.

use std::collections::VecDeque;
use std::sync::Arc;

use persist_model::{Change, DiffKind, Result};
use wasmtime::component::ResourceAny;

use crate::engine::engine::Engine;
use crate::sandbox::{Guest, Limits, Share, diffs as wit};
use crate::storage::{MAX_READ, Pair, in_first, in_second};
use crate::system::process::OfProcess;

/// How many changes are asked for at a time.
const PAGE: u32 = 1000;

/// How many times as long as any other a call that compares may take.
const TIMES: u32 = 20;

/// A state to compare.
#[derive(Clone, Debug)]
pub enum DiffSource {
    /// The state of the snapshot, or of the step of a timeline, with this key.
    Stored(String),
    /// All bytes of the object with this key, as they are.
    Object(String),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl DiffSource {
    fn named(self, name: impl Fn(&str) -> String) -> wit::Source {
        match self {
            Self::Stored(key) => wit::Source::Stored(name(&key)),
            Self::Object(key) => wit::Source::Object(name(&key)),
            Self::Bytes(bytes) => wit::Source::Bytes(bytes),
        }
    }
}

impl Engine {
    /// Compares two states in this storage: JSON by value, text by line. Holds up to 32 MiB
    /// of each state, and reads larger ones in parts.
    ///
    /// ```
    /// use persist_host::{DiffSource, Engine, MemoryStorage};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = Engine::builder().storage(MemoryStorage::new()).build()?;
    /// let (before, after) = (br#"{"messages": ["Hi"]}"#, br#"{"messages": ["Hi", "Hello"]}"#);
    /// let mut diff = engine.diff(DiffSource::Bytes(before.to_vec()), DiffSource::Bytes(after.to_vec()))?;
    /// let change = diff.next().expect("they differ")?;
    /// assert_eq!(change.path, "/messages/1");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, and all errors of restoring a snapshot or a step.
    pub fn diff(&self, before: DiffSource, after: DiffSource) -> Result<Diff> {
        Diff::open(self.comparing()?, before.named(str::to_owned), after.named(str::to_owned))
    }

    /// Compares a state in this storage to one in the storage of another engine, as
    /// [`diff`](Self::diff).
    ///
    /// # Errors
    /// As [`diff`](Self::diff).
    pub fn diff_with(&self, before: DiffSource, other: &Self, after: DiffSource) -> Result<Diff> {
        let pair = Pair::new(Arc::clone(&self.storage), Arc::clone(&other.storage));
        let guest = self.with_storage(Arc::new(pair)).comparing()?;
        Diff::open(guest, before.named(in_first), after.named(in_second))
    }

    /// Starts an instance that compares. One call looks for the next difference, and may go
    /// through the states once for each level at which they are nested.
    fn comparing(&self) -> Result<Guest> {
        let limits = Limits { deadline: self.limits.deadline.saturating_mul(TIMES), ..self.limits };
        Guest::start(&self.pool.runtime, &self.storage, limits, Share::new(&self.pool.budget, 0), &self.cancel)
    }
}

/// The differences between two states. It iterates over the changes of JSON states; ends after
/// an error. [`next_bytes`](Self::next_bytes) goes through the same differences, so use one of
/// them.
pub struct Diff {
    guest: OfProcess<Guest>,
    diff: ResourceAny,
    kind: DiffKind,
    found: VecDeque<Change>,
    ended: bool,
}

impl std::fmt::Debug for Diff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diff").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Diff {
    fn open(mut guest: Guest, before: wit::Source, after: wit::Source) -> Result<Self> {
        let diff = guest.call(|persist, store| persist.persist_snapshot_diffs().call_open_diff(store, &before, &after))?;
        let kind = guest.call(|persist, store| persist.persist_snapshot_diffs().diff().call_kind(store, diff).map(Ok))?.into();
        Ok(Self { guest: OfProcess::new(guest), diff, kind, found: VecDeque::new(), ended: false })
    }

    /// Returns how the states are compared.
    pub fn kind(&self) -> DiffKind {
        self.kind
    }

    /// Returns the next part of a description of all differences, or none at the end: for
    /// JSON, a JSON Patch (RFC 6902); for text, the hunks of a unified diff; for other states,
    /// one line for people; for equal ones, nothing.
    ///
    /// # Errors
    /// Any error of the storage, `Integrity` for damaged data, and `Conflict` if an object
    /// was changed in the meantime.
    pub fn next_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        let diff = self.diff;
        let bytes = self.guest.get()?.call(|persist, store| persist.persist_snapshot_diffs().diff().call_read(store, diff, MAX_READ))?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    fn look(&mut self) -> Result<()> {
        let diff = self.diff;
        let found = self.guest.get()?.call(|persist, store| persist.persist_snapshot_diffs().diff().call_next(store, diff, PAGE))?;
        self.ended = found.is_empty();
        self.found.extend(found.into_iter().map(Change::from));
        Ok(())
    }
}

impl Iterator for Diff {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.found.is_empty()
            && !self.ended
            && let Err(error) = self.look()
        {
            self.ended = true;
            return Some(Err(error));
        }
        self.found.pop_front().map(Ok)
    }
}
