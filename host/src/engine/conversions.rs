//! What the component says of a timeline, with errors that name the storage.

use persist_model::{Checked, HistoryEntry};

use crate::sandbox::{from_guest, timelines as wit};
use crate::storage::StorageAdapter;

pub(super) fn entry(entry: wit::HistoryEntry, storage: &dyn StorageAdapter) -> HistoryEntry {
    match entry {
        wit::HistoryEntry::Step(found) => HistoryEntry::Step(Box::new(found.into())),
        wit::HistoryEntry::Unreadable((number, error)) => HistoryEntry::Unreadable { number, error: from_guest(error, storage) },
    }
}

pub(super) fn checked(checked: wit::Checked, storage: &dyn StorageAdapter) -> Checked {
    Checked::new(checked.number, checked.key, checked.error.map(|error| from_guest(error, storage)))
}
