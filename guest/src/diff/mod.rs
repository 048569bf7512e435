//! Says what is different between two states.
//!
//! JSON states are walked in parallel (`walk.rs`), one level of one value at a time: the
//! children of both sides are read and hashed (`children.rs`, `scan.rs`), and only those that
//! differ are looked into. Nothing is parsed into memory, so the size of a state does not
//! matter. Text is compared by the hashes of its lines (`text.rs`).

mod align;
mod children;
mod cursor;
mod excerpt;
mod patch;
mod pointer;
mod ready;
mod scan;
mod state;
mod text;
mod walk;

use std::rc::Rc;

pub use persist_model::{Change, DiffKind, Excerpt, Operation};
pub use state::Source;

use crate::diff::cursor::Cursor;
use crate::diff::excerpt::excerpts;
use crate::diff::patch::Patch;
use crate::diff::ready::taken;
use crate::diff::scan::{Fault, Scanner, Value};
use crate::diff::state::{SIZES, Side, Sizes, State};
use crate::diff::text::{MAX_LINES, TextDiff};
use crate::diff::walk::{Found, Walker};
use crate::error::{Error, Result};
use crate::storage::Storage;

/// The most changes that [`Diff::next`] returns at a time.
const MAX_CHANGES: u32 = 1000;

/// The differences between two states. [`next`](Self::next) and [`read`](Self::read) go
/// through the same differences, so only one of them is to be used.
pub struct Diff<S: Storage> {
    before: Side<S>,
    after: Side<S>,
    inner: Inner<S>,
    failed: Option<Error>,
}

enum Inner<S: Storage> {
    Equal,
    Json {
        walker: Box<Walker<S>>,
        patch: Patch,
    },
    Text(Box<TextDiff<S>>),
    /// What is still to be said.
    Binary(Vec<u8>),
}

impl<S: Storage> Diff<S> {
    /// Compares two states.
    pub fn open(storage: &S, before: Source, after: Source) -> Result<Self> {
        Self::open_with(storage, before, after, SIZES)
    }

    fn open_with(storage: &S, before: Source, after: Source, sizes: Sizes) -> Result<Self> {
        let before = Rc::new(State::open(storage, before, sizes)?);
        let after = Rc::new(State::open(storage, after, sizes)?);
        let inner = Self::compare(&before, &after)?;
        Ok(Self { before, after, inner, failed: None })
    }

    fn compare(before: &Side<S>, after: &Side<S>) -> Result<Inner<S>> {
        if before.equals(after)? {
            return Ok(Inner::Equal);
        }
        if !(before.is_text()? && after.is_text()?) {
            let (before, after) = (before.size(), after.size());
            return Ok(Inner::Binary(format!("Binary states differ: {before} bytes and {after} bytes\n").into_bytes()));
        }
        let scanner = Scanner::default();
        Ok(match (root(&scanner, before)?, root(&scanner, after)?) {
            (Some(one), Some(other)) => {
                let walker = Box::new(Walker::new(scanner, Rc::clone(before), Rc::clone(after), one, other));
                Inner::Json { walker, patch: Patch::default() }
            }
            _ => match TextDiff::new(Rc::clone(before), Rc::clone(after))? {
                Some(text) => Inner::Text(Box::new(text)),
                None => {
                    let (before, after) = (before.size(), after.size());
                    let why = format!("texts of more than {MAX_LINES} lines are not compared line by line");
                    Inner::Binary(format!("Texts differ: {before} bytes and {after} bytes; {why}\n").into_bytes())
                }
            },
        })
    }

    /// Returns how the states are compared.
    pub fn kind(&self) -> DiffKind {
        match self.inner {
            Inner::Equal => DiffKind::Equal,
            Inner::Json { .. } => DiffKind::Json,
            Inner::Text(_) => DiffKind::Text,
            Inner::Binary(_) => DiffKind::Binary,
        }
    }

    /// Returns the next differences of JSON states: at most `limit`, and none only at the end.
    pub fn next(&mut self, limit: u32) -> Result<Vec<Change>> {
        if !(1..=MAX_CHANGES).contains(&limit) {
            return Err(Error::argument(format!("a page has 1 to {MAX_CHANGES} changes, not {limit}")));
        }
        self.once(|diff| {
            let Inner::Json { walker, .. } = &mut diff.inner else { return Ok(Vec::new()) };
            let mut page = Vec::new();
            while page.len() < limit as usize {
                let Some(found) = walker.next()? else { break };
                page.push(found);
            }
            let values = |of: fn(&Found) -> Option<Value>| page.iter().map(of).collect::<Vec<_>>();
            let before = excerpts(&diff.before, &values(|found| found.before))?;
            let after = excerpts(&diff.after, &values(|found| found.after))?;
            let changes = page.into_iter().zip(before).zip(after);
            Ok(changes.map(|((found, before), after)| Change::new(found.operation, found.shown, before, after)).collect())
        })
    }

    /// Returns the next bytes of a description of all differences: at most `max`, and none only
    /// at the end or if `max` is 0.
    pub fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        let max = max as usize;
        self.once(|diff| match &mut diff.inner {
            _ if max == 0 => Ok(Vec::new()),
            Inner::Equal => Ok(Vec::new()),
            Inner::Json { walker, patch } => patch.read(walker, &diff.after, max),
            Inner::Text(text) => text.read(max),
            Inner::Binary(sentence) => Ok(taken(sentence, max)),
        })
    }

    /// Runs a part of the comparison, unless an earlier one failed.
    fn once<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        run(self).inspect_err(|error| self.failed = Some(error.clone()))
    }
}

/// Reads a state as one JSON value; `None` if it is something else.
fn root<S: Storage>(scanner: &Scanner, state: &Side<S>) -> Result<Option<Value>> {
    let mut cursor = Cursor::new(state, 0);
    let read = || {
        let value = scanner.value(&mut cursor)?;
        match cursor.token()? {
            None => Ok(value),
            Some(_) => Err(Fault::NotJson),
        }
    };
    match { read }() {
        Ok(value) => Ok(Some(value)),
        Err(Fault::NotJson) => Ok(None),
        Err(Fault::Failed(error)) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests;
