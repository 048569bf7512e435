//! Every operation of every call fails, once or from then on.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use persist_model::Precondition;
use rustix::io::Errno;
use tempfile::TempDir;

use super::helpers::{KEY, OTHER, debris, listed, noise, on, plain, save};
use crate::storage::local::LocalFileStorage;
use crate::storage::local::disk::{Operation, Probe};
use crate::{Engine, ErrorCode, ListEntry, PersistError};

/// How an operation fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Error(Errno),
    /// A write accepts half of the bytes; other operations succeed.
    Short,
}

/// Makes operation number `fails_at` fail, and with `for_ever` all after it.
#[derive(Debug)]
pub(super) struct FailingProbe {
    pub(super) count: AtomicUsize,
    pub(super) fails_at: usize,
    pub(super) fault: Fault,
    pub(super) for_ever: bool,
}

impl Probe for FailingProbe {
    fn before(&self, operation: &Operation<'_>) -> io::Result<usize> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        if number != self.fails_at && !(self.for_ever && number > self.fails_at) {
            return Ok(usize::MAX);
        }
        match (self.fault, operation) {
            (Fault::Error(error), _) => Err(error.into()),
            (Fault::Short, Operation::Write(bytes)) => Ok(bytes.len().div_ceil(2)),
            (Fault::Short, _) => Ok(usize::MAX),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    SaveNew,
    SaveReplace,
    SaveIfAbsent,
    Restore,
    Metadata,
    Verify,
    Exists,
    List,
    Delete,
    Copy,
}

const CALLS: [Call; 10] = [
    Call::SaveNew,
    Call::SaveReplace,
    Call::SaveIfAbsent,
    Call::Restore,
    Call::Metadata,
    Call::Verify,
    Call::Exists,
    Call::List,
    Call::Delete,
    Call::Copy,
];

impl Call {
    fn run(self, engine: &Engine, old: &[u8], new: &[u8]) -> Result<(), PersistError> {
        match self {
            Self::SaveNew => save(engine, "fresh/deep/z.json.gz", new, Precondition::None),
            Self::SaveReplace => save(engine, KEY, new, Precondition::None),
            Self::SaveIfAbsent => save(engine, "agents/one/z.json.gz", new, Precondition::IfAbsent),
            Self::Restore => engine.restore(KEY).map(|state| assert!(state == old)),
            Self::Metadata => engine.metadata(KEY).map(|metadata| assert_eq!(metadata.uncompressed_size, old.len() as u64)),
            Self::Verify => engine.verify(KEY).map(drop),
            Self::Exists => engine.exists(KEY).map(|exists| assert!(exists)),
            // A folder or file that fails is an entry with the error.
            Self::List => engine.list("").collect::<Result<Vec<_>, _>>().and_then(|entries| {
                let failed = entries.iter().find_map(|entry| match entry {
                    ListEntry::Unreadable { error, .. } => Some(error.clone()),
                    ListEntry::Snapshot(_) => None,
                });
                assert!(entries.len() == 2 || failed.is_some(), "{entries:?}");
                failed.map_or(Ok(()), Err)
            }),
            Self::Delete => engine.delete(KEY, Precondition::None),
            Self::Copy => engine.copy(KEY, engine, "agents/copy/x.json.gz", Precondition::None, |_| {}).map(drop),
        }
    }

    /// Returns the key that the call writes, if any.
    fn target(self) -> Option<&'static str> {
        match self {
            Self::SaveNew => Some("fresh/deep/z.json.gz"),
            Self::SaveReplace => Some(KEY),
            Self::SaveIfAbsent => Some("agents/one/z.json.gz"),
            Self::Copy => Some("agents/copy/x.json.gz"),
            _ => None,
        }
    }
}

fn prepared(old: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    save(&plain(folder.path()), KEY, old, Precondition::None).unwrap();
    save(&plain(folder.path()), OTHER, b"other", Precondition::None).unwrap();
    folder
}

fn check_after(call: Call, outcome: &Result<(), PersistError>, root: &Path, old: &[u8], new: &[u8]) {
    let engine = plain(root);
    assert_eq!(engine.restore(OTHER).expect("the other snapshot"), b"other");
    match call {
        Call::SaveReplace => {
            let state = engine.restore(KEY).expect("the old or the new one");
            assert!(state == new || (outcome.is_err() && state == old));
        }
        Call::Delete => match engine.restore(KEY) {
            Ok(state) => assert!(outcome.is_err() && state == old),
            Err(error) => assert_eq!(error.code(), ErrorCode::NotFound),
        },
        _ => assert!(engine.restore(KEY).expect("it was only read") == old),
    }
    if let Some(target) = call.target().filter(|target| *target != KEY) {
        let expected = if call == Call::Copy { old } else { new };
        match engine.restore(target) {
            Ok(state) => assert!(state == expected),
            Err(error) => assert!(outcome.is_err() && error.code() == ErrorCode::NotFound, "{error:?}"),
        }
    }
    listed(&engine);
    // The next write into the folder sweeps what was left there.
    if let Some(target) = call.target() {
        save(&engine, target, b"next", Precondition::None).expect("the next write");
        assert_eq!(engine.restore(target).expect("the next state"), b"next");
        let folder = root.join(target);
        assert_eq!(debris(folder.parent().unwrap()), Vec::<String>::new());
    }
}

#[test]
fn every_operation_may_fail() {
    let (old, new) = (noise(300_000, 1), noise(700_000, 2));
    let faults =
        [Fault::Error(Errno::IO), Fault::Error(Errno::NOSPC), Fault::Error(Errno::INTR), Fault::Error(Errno::ACCESS), Fault::Short];
    let (mut total, mut failed) = (0, 0);
    for call in CALLS {
        for fault in faults {
            for for_ever in [false, true] {
                for fails_at in 0.. {
                    let folder = prepared(&old);
                    let probe = Arc::new(FailingProbe { count: AtomicUsize::new(0), fails_at, fault, for_ever });
                    let mut storage = LocalFileStorage::new(folder.path());
                    storage.disk.probe = Some(Arc::<FailingProbe>::clone(&probe));
                    if matches!(fault, Fault::Error(Errno::INTR)) && for_ever {
                        // A call that is always interrupted would be retried forever.
                        break;
                    }
                    let outcome = call.run(&on(storage), &old, &new);
                    if probe.count.load(Ordering::Relaxed) <= fails_at {
                        assert!(outcome.is_ok(), "{call:?} without a fault: {outcome:?}");
                        break;
                    }
                    if let Err(error) = &outcome {
                        assert!(error.location().is_some(), "{error:?}");
                        assert!(!matches!(fault, Fault::Short), "{call:?}: a short write is not an error: {error:?}");
                        failed += 1;
                    }
                    check_after(call, &outcome, folder.path(), &old, &new);
                    total += 1;
                }
            }
        }
    }
    println!(
        "{total} faults in {} calls, {failed} of them reported as errors: no acknowledged snapshot lost, no wrong byte accepted",
        CALLS.len()
    );
    assert!(total >= 500, "{total}");
}
