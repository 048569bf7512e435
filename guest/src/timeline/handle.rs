//! A timeline as its users see it: states are appended, and every step can be loaded.

use crate::error::{Error, ErrorCode, Result};
use crate::metadata::{Metadata, SaveOptions};
use crate::open::TAIL;
use crate::storage::Storage;
use crate::timeline::append::{Head, append};
use crate::timeline::chain::Chain;
use crate::timeline::step::{Step, key, number};

/// How many objects are listed, and how many steps are read, at a time.
const PAGE: u32 = 1000;
const BATCH: u64 = 64;

/// How often an append is tried again after other writers took its number.
const MAX_REBASES: u32 = 1000;

/// What an append does if another writer was faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Fails with `already-exists`.
    #[default]
    Fail,
    /// Appends the state after the other writer's.
    Rebase,
}

/// A timeline: a folder in which each object is one step. It keeps the newest step's state,
/// so that the next append does not have to read it.
#[derive(Debug)]
pub struct Timeline<S> {
    storage: S,
    /// The folder, with `/` at its end.
    prefix: String,
    head: Option<Head>,
}

impl<S: Storage> Timeline<S> {
    /// Opens the timeline in a folder, which ends with `/`. Nothing is read yet.
    pub fn new(storage: S, prefix: &str) -> Self {
        Self { storage, prefix: prefix.to_owned(), head: None }
    }

    /// Appends a state as the next step, and returns its metadata.
    pub fn append(&mut self, state: &[u8], options: &SaveOptions, on_conflict: OnConflict) -> Result<Metadata> {
        let mut rebases = 0;
        loop {
            if self.head.is_none() {
                self.read_head()?;
            }
            let error = match append(&self.storage, &self.prefix, self.head.as_ref(), state.to_vec(), options) {
                Ok((head, metadata)) => {
                    self.head = Some(head);
                    return Ok(metadata);
                }
                Err(error) => error,
            };
            // The head that is known is no longer the newest, or may not be.
            self.head = None;
            let is_conflict = matches!(error.code, ErrorCode::AlreadyExists | ErrorCode::Conflict);
            if !is_conflict || on_conflict == OnConflict::Fail || rebases == MAX_REBASES {
                return Err(error);
            }
            rebases += 1;
        }
    }

    /// Returns the number of the newest step; `None` if there is none.
    pub fn newest(&self) -> Result<Option<u64>> {
        let mut newest = None;
        let mut after: Option<String> = None;
        loop {
            let page = self.storage.list_objects(&self.prefix, after.as_deref(), PAGE)?;
            newest = page.iter().filter_map(|info| number(&self.prefix, &info.key)).max().max(newest);
            match page.last() {
                Some(last) if page.len() == PAGE as usize => after = Some(last.key.clone()),
                _ => break,
            }
        }
        // A listing may be older than the last writes.
        while self.exists(newest.unwrap_or(0) + 1)? {
            newest = Some(newest.unwrap_or(0) + 1);
        }
        Ok(newest)
    }

    fn exists(&self, number: u64) -> Result<bool> {
        match self.storage.stat(&key(&self.prefix, number)) {
            Ok(_) => Ok(true),
            Err(error) if error.code == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read_head(&mut self) -> Result<()> {
        let Some(number) = self.newest()? else { return Ok(()) };
        let chain = Chain::open(&self.storage, &self.prefix, number)?;
        let state = chain.state(&self.storage, u64::MAX)?;
        self.head = Some(Head::new(chain, state));
        Ok(())
    }

    /// Loads the state of a step, which has at most `max_size` bytes.
    pub fn load(&self, number: u64, max_size: u64) -> Result<(Metadata, Vec<u8>)> {
        let chain = Chain::open(&self.storage, &self.prefix, number)?;
        let state = chain.state(&self.storage, max_size)?;
        let metadata = chain.steps.first().map(Step::metadata);
        metadata.map(|metadata| (metadata, state)).ok_or_else(|| Error::new(ErrorCode::Other, "a chain has no steps"))
    }

    /// Returns the metadata of at most `limit` steps, from `newest` backwards. A step that
    /// can't be read is an error in its place.
    pub fn history(&self, newest: u64, limit: u64) -> Result<Vec<Result<Metadata>>> {
        let mut found = Vec::new();
        let oldest = newest.saturating_sub(limit);
        let mut next = newest;
        while next > oldest {
            let numbers: Vec<u64> = (oldest + 1..=next).rev().take(usize::try_from(BATCH).unwrap_or(usize::MAX)).collect();
            let keys: Vec<String> = numbers.iter().map(|number| key(&self.prefix, *number)).collect();
            let ends = self.storage.read_ends(&keys.iter().map(String::as_str).collect::<Vec<_>>(), TAIL)?;
            for (number, end) in numbers.iter().zip(ends) {
                let step = end.and_then(|(info, tail)| Step::parse(&self.storage, info, tail, *number));
                found.push(step.map(|step| step.metadata()));
            }
            next = next.saturating_sub(numbers.len() as u64);
        }
        Ok(found)
    }
}
