//! Reads steps and their states.

use crate::error::{Error, ErrorCode, Result};
use crate::hash::hex;
use crate::metadata::Metadata;
use crate::open::TAIL;
use crate::storage::Storage;
use crate::timeline::chain::Chain;
use crate::timeline::document::Range;
use crate::timeline::handle::Timeline;
use crate::timeline::history::lost;
use crate::timeline::listing::Listing;
use crate::timeline::loader::Loader;
use crate::timeline::newest::{ATTEMPTS, Newest, find_newest, read_hint};
use crate::timeline::record::Record;
use crate::timeline::step::Step;

impl<S: Storage> Timeline<S> {
    /// Returns the number of the newest step; `None` if there is none.
    pub fn newest(&self) -> Result<Option<u64>> {
        Ok(match find_newest(&self.storage, &self.folder)? {
            Newest::Step(step) => Some(step.document.number),
            Newest::Damaged { number, .. } => Some(number),
            Newest::Nothing | Newest::End { .. } | Newest::Gap { .. } => None,
        })
    }

    /// Reads the newest step. Never returns an older one in its place.
    pub(super) fn newest_step(&self) -> Result<Step> {
        match find_newest(&self.storage, &self.folder)? {
            Newest::Step(step) => Ok(*step),
            Newest::End { .. } | Newest::Gap { .. } => Err(self.nothing("the timeline was deleted")),
            Newest::Nothing => Err(self.nothing("the timeline has no steps")),
            Newest::Damaged { error, .. } => Err(error),
        }
    }

    fn nothing(&self, what: &str) -> Error {
        Error::new(ErrorCode::NotFound, what).at(self.folder.prefix())
    }

    /// Reads the step with this number.
    pub(super) fn step(&self, number: u64) -> Result<Step> {
        let (key, hidden, hint) = (self.folder.step(number), self.folder.hidden(number), self.folder.hint());
        let mut ends = self.storage.read_ends(&[&key, &hidden, &hint], TAIL)?.into_iter();
        let end = ends.next().unwrap_or_else(|| Err(Error::short_read(0, 1)));
        let (info, tail) = end.map_err(|error| self.explain(number, error).at(&key))?;
        if ends.next().is_some_and(|hidden| hidden.is_ok()) {
            return Err(Error::new(ErrorCode::NotFound, format!("step {number} was removed")).at(&key));
        }
        if let Some(Ok((_, hint))) = ends.next()
            && let Ok(Record::Head { number: newest, .. }) = Record::parse(&hint)
            && newest > number
            && matches!(Record::read(&self.storage, &self.folder.step(newest)), Ok((Record::End { .. }, _)))
        {
            // The deletion was broken off.
            return Err(Error::new(ErrorCode::NotFound, "the timeline was deleted").at(&key));
        }
        Step::parse(&self.storage, info, tail, number)
    }

    /// Returns the bytes of a hint that names the step with this number.
    pub fn hint(&self, number: u64) -> Result<Vec<u8>> {
        let step = self.step(number)?;
        Ok(Record::Head { number, root: hex(&step.root) }.to_bytes())
    }

    /// Opens the state of the newest step.
    pub fn open_newest(&self, hashes: bool) -> Result<StateReader<S>> {
        let mut left = ATTEMPTS;
        loop {
            match self.reader(self.newest_step()?, hashes) {
                // It was removed just now, and another is the newest.
                Err(error) if error.code == ErrorCode::NotFound && left > 0 => left -= 1,
                opened => return opened,
            }
        }
    }

    /// Opens the state of the step with this number.
    pub fn open(&self, number: u64, hashes: bool) -> Result<StateReader<S>> {
        self.reader(self.step(number)?, hashes)
    }

    /// Explains that a step is missing.
    fn explain(&self, number: u64, error: Error) -> Error {
        if error.code != ErrorCode::NotFound {
            return error;
        }
        let Ok(listing) = Listing::read(&self.storage, &self.folder, 1) else { return error };
        if listing.is_in_gap(number) {
            return Error::new(ErrorCode::NotFound, format!("step {number} was removed"));
        }
        let hint = read_hint(&self.storage, &self.folder).ok().flatten().map(|(hint, _)| hint);
        if hint.is_none() && listing.steps.numbers().next().is_none() {
            return self.nothing("the timeline has no steps");
        }
        if listing.steps.numbers().next_back().max(hint).is_some_and(|last| last >= number) {
            return lost(&self.folder, number);
        }
        Error::new(ErrorCode::NotFound, format!("the timeline has no step {number}"))
    }

    pub(super) fn reader(&self, step: Step, hashes: bool) -> Result<StateReader<S>> {
        let (metadata, number) = (step.metadata(), step.document.number);
        let chain = Chain::of_step(&self.storage, &self.folder, step).map_err(|error| match self.step(number) {
            // What it depends on was removed after it.
            Err(removed) if removed.code == ErrorCode::NotFound => removed,
            _ => error,
        })?;
        Ok(StateReader {
            storage: self.storage.clone(),
            loader: Loader::new(chain, hashes),
            metadata,
            number,
            part: Vec::new(),
            given: 0,
            failed: None,
        })
    }

    /// Loads the state of a step, which has at most `most` bytes.
    pub fn load(&self, number: u64, most: u64) -> Result<(Metadata, Vec<u8>)> {
        let mut reader = self.open(number, true)?;
        let state = reader.read_to_end(most)?;
        Ok((reader.metadata, state))
    }
}

/// The state of a step being read. It holds a few megabytes, whatever the size of the state.
pub struct StateReader<S> {
    storage: S,
    loader: Loader,
    metadata: Metadata,
    number: u64,
    /// For [`read`](Self::read): the current part, and how much of it was returned.
    part: Vec<u8>,
    given: usize,
    failed: Option<Error>,
}

impl<S: Storage> StateReader<S> {
    /// The metadata of the step.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The number of the step.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the next bytes of the state: at most `max`, and none only at the end or if
    /// `max` is 0.
    pub fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        if self.given == self.part.len() {
            (self.part, self.given) = (self.next_part()?, 0);
        }
        if self.given == 0 && self.part.len() <= max as usize {
            // The usual case: no copy.
            return Ok(std::mem::take(&mut self.part));
        }
        let rest = self.part.get(self.given..).unwrap_or_default();
        let now = rest.get(..max as usize).unwrap_or(rest).to_vec();
        self.given += now.len();
        Ok(now)
    }

    /// Returns the next part of the state, and none at the end.
    pub fn next_part(&mut self) -> Result<Vec<u8>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.loader.next(&self.storage).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Returns a range of the state, of at most 8 MiB, whatever was read before.
    pub(crate) fn part_at(&mut self, start: u64, length: u64) -> Result<Vec<u8>> {
        self.loader.part_at(&self.storage, Range { start, length })
    }

    /// Returns the whole state, which has at most `most` bytes.
    pub fn read_to_end(&mut self, most: u64) -> Result<Vec<u8>> {
        self.loader.read_to_end(&self.storage, most)
    }

    /// Checks the SHA-256 of the whole state, which the caller has computed.
    pub fn check(&self, content_hash: [u8; 32]) -> Result<()> {
        self.loader.check(content_hash)
    }
}
