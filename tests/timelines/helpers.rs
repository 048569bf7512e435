//! Timelines in a folder and in a bucket, and states that can be told apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use persist_host::timeline::{HistoryEntry, OnConflict, Policy, StepSelector};
use persist_host::{Durability, Engine, ListFilter, LocalFileStorage, MemoryStorage, Result, SnapshotOptions, StorageAdapter, Timeline};
use persist_test_support::command::chat_bytes;
use persist_test_support::proxy::Proxy;
use persist_test_support::server::{Server, adapter};
use tempfile::TempDir;

pub(crate) const TIMELINE: &str = "runs/one";

/// The label of the steps that pruning has to keep.
pub(crate) const KEPT: &str = "kept";

/// A kind of storage that several processes can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    Bucket,
}

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

impl Kind {
    /// Opens the storage at a folder or an endpoint.
    pub(crate) fn storage(self, at: &str) -> Arc<dyn StorageAdapter> {
        match self {
            // A killed process loses nothing that the system has.
            Self::Folder => Arc::new(LocalFileStorage::new(at).durability(Durability::None)),
            Self::Bucket => Arc::new(adapter(at)),
        }
    }
}

/// One engine for all tests, since making one takes longer than an append.
pub(crate) fn on(storage: Arc<dyn StorageAdapter>) -> Engine {
    static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::builder().storage(MemoryStorage::new()).build().expect("an engine"));
    ENGINE.with_storage(storage)
}

/// A storage that lives as long as a test.
pub(crate) struct Place {
    pub(crate) kind: Kind,
    /// Its folder or endpoint.
    pub(crate) at: String,
    pub(crate) server: Option<(Server, Proxy)>,
    _folder: TempDir,
}

impl Place {
    pub(crate) fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        match kind {
            Kind::Folder => Self { kind, at: folder.path().to_str().expect("UTF-8").to_owned(), server: None, _folder: folder },
            Kind::Bucket => {
                let server = Server::start();
                let proxy = Proxy::start(server.address);
                // The server takes several steps for what S3 does atomically.
                proxy.take_turns();
                Self { kind, at: proxy.endpoint(), server: Some((server, proxy)), _folder: folder }
            }
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        on(self.kind.storage(&self.at))
    }

    pub(crate) fn timeline(&self) -> Timeline {
        self.engine().timeline(TIMELINE).expect("a folder")
    }

    /// Checks all data of the timeline, and returns the ID of each state that is shown, by
    /// number.
    pub(crate) fn checked(&self) -> BTreeMap<u64, u64> {
        let timeline = self.timeline();
        for checked in timeline.check(true).expect("it is checked") {
            let checked = checked.expect("it is checked");
            assert!(checked.error.is_none(), "{checked:?}");
        }
        let shown = shown(&timeline);
        for (number, id) in &shown {
            assert_eq!(load(&timeline, *number), *id, "step {number}");
        }
        shown
    }
}

/// Returns what the history shows: the ID of each state, by number. Loads none of them.
pub(crate) fn shown(timeline: &Timeline) -> BTreeMap<u64, u64> {
    let entries = timeline.history(ListFilter::default(), None).expect("a history");
    let shown = entries.map(|entry| match entry.expect("an entry") {
        HistoryEntry::Step(step) => {
            let id = step.metadata.description.as_deref().expect("each step has its ID");
            (step.number, u64::from_str_radix(id, 16).expect("a number"))
        }
        HistoryEntry::Unreadable { number, error } => panic!("step {number}: {error:?}"),
    });
    shown.collect()
}

/// Loads a step, and returns the ID of its state.
pub(crate) fn load(timeline: &Timeline, number: u64) -> u64 {
    id_of(&timeline.load(&StepSelector::Number(number)).unwrap_or_else(|error| panic!("step {number}: {error:?}")))
}

/// Returns the state with this ID: it has much in common with the others, as the states of
/// an agent have.
pub(crate) fn state(id: u64) -> Vec<u8> {
    static SHARED: LazyLock<Vec<u8>> = LazyLock::new(|| chat_bytes(20_000));
    let mut random = Random(id | 1);
    let mut state = format!("{id:016x}\n").into_bytes();
    let shared = 6000 + usize::try_from(random.below(9000)).expect("a length");
    state.extend_from_slice(&SHARED[..shared]);
    for _ in 0..random.below(60) {
        state.extend_from_slice(format!("{:x}", random.below(u64::MAX)).as_bytes());
    }
    state
}

/// Returns the ID of a state, all of which is checked.
pub(crate) fn id_of(found: &[u8]) -> u64 {
    let id = found.get(..16).and_then(|id| std::str::from_utf8(id).ok()).and_then(|id| u64::from_str_radix(id, 16).ok());
    let id = id.expect("a state begins with its ID");
    assert!(state(id) == found, "{id:x}: bytes that were never appended");
    id
}

/// Whether pruning has to keep the state with this ID.
pub(crate) fn is_kept(id: u64) -> bool {
    id.is_multiple_of(5)
}

pub(crate) fn options(id: u64) -> SnapshotOptions {
    let labels = if is_kept(id) { BTreeMap::from([(KEPT.to_owned(), "yes".to_owned())]) } else { BTreeMap::new() };
    SnapshotOptions::default().description(Some(format!("{id:x}"))).labels(labels)
}

/// Appends the state with this ID, and returns its number.
pub(crate) fn append(timeline: &mut Timeline, id: u64, on_conflict: OnConflict) -> Result<u64> {
    timeline.append(&state(id), &options(id), on_conflict).map(|step| step.number)
}

/// How many of the newest steps pruning keeps.
pub(crate) const LAST: u32 = 3;

pub(crate) fn policy() -> Policy {
    Policy::default().last(LAST).labels(vec![(KEPT.to_owned(), None)])
}

/// Checks a timeline that was pruned: of the states that were appended, those that have to be
/// kept are there, and the newest.
pub(crate) fn assert_kept(shown: &BTreeMap<u64, u64>, appended: &BTreeMap<u64, u64>) {
    let ids: BTreeSet<u64> = shown.values().copied().collect();
    let told: BTreeSet<u64> = appended.values().copied().collect();
    // A killed writer may have appended one more, of which it did not tell.
    let untold = shown.iter().filter(|(_, id)| !told.contains(id));
    let all: BTreeMap<u64, u64> = appended.iter().chain(untold).map(|(number, id)| (*number, *id)).collect();
    let newest = all.iter().rev().take(LAST as usize);
    let labelled = appended.iter().filter(|(_, id)| is_kept(**id));
    for (number, id) in newest.chain(labelled) {
        assert!(ids.contains(id), "step {number} with the state {id:x} is lost; shown are {shown:?}");
    }
}
