//! Exports the interface `diffs`.

use std::cell::RefCell;

use super::Component;
use super::bindings::{Answer, diffs as wit};
use super::storage::HostStorage;
use crate::diff::{Change, Diff, DiffKind, Excerpt, Operation, Source};

impl From<wit::Source> for Source {
    fn from(source: wit::Source) -> Self {
        match source {
            wit::Source::Stored(key) => Self::Stored(key),
            wit::Source::Object(key) => Self::Object(key),
            wit::Source::Bytes(bytes) => Self::Bytes(bytes),
        }
    }
}

impl From<DiffKind> for wit::DiffKind {
    fn from(kind: DiffKind) -> Self {
        match kind {
            DiffKind::Equal => Self::Equal,
            DiffKind::Json => Self::Json,
            DiffKind::Text => Self::Text,
            DiffKind::Binary => Self::Binary,
        }
    }
}

impl From<Excerpt> for wit::Excerpt {
    fn from(excerpt: Excerpt) -> Self {
        let Excerpt { text, is_cut, size, .. } = excerpt;
        Self { text, is_cut, size }
    }
}

impl From<Change> for wit::Change {
    fn from(change: Change) -> Self {
        let Change { operation, path, before, after, .. } = change;
        let operation = match operation {
            Operation::Add => wit::Operation::Add,
            Operation::Remove => wit::Operation::Remove,
            Operation::Replace => wit::Operation::Replace,
        };
        Self { operation, path, before: before.map(wit::Excerpt::from), after: after.map(wit::Excerpt::from) }
    }
}

impl wit::GuestDiff for RefCell<Diff<HostStorage>> {
    fn kind(&self) -> wit::DiffKind {
        self.borrow().kind().into()
    }

    fn next(&self, limit: u32) -> Answer<Vec<wit::Change>> {
        Ok(self.borrow_mut().next(limit)?.into_iter().map(wit::Change::from).collect())
    }

    fn read(&self, max: u32) -> Answer<Vec<u8>> {
        Ok(self.borrow_mut().read(max)?)
    }
}

impl wit::Guest for Component {
    type Diff = RefCell<Diff<HostStorage>>;

    fn open_diff(before: wit::Source, after: wit::Source) -> Answer<wit::Diff> {
        Ok(wit::Diff::new(RefCell::new(Diff::open(&HostStorage, before.into(), after.into())?)))
    }
}
