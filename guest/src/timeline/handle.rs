//! A timeline as its users see it: states are appended, and every step can be loaded.

pub use persist_model::OnConflict;
use persist_model::error::HINT;
use persist_paths::timeline::is_step_size;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorCode, Result};
use crate::metadata::{Metadata, SaveOptions};
use crate::open::TAIL;
use crate::storage::{CHUNK, ObjectInfo, Storage, Writer as _};
use crate::timeline::append::{Content, Head, Known, Prepared};
use crate::timeline::appender::{Finished, Large, pieces_of};
use crate::timeline::catalogue::{Row, SPAN, covering, write_catalogue};
use crate::timeline::chain::Chain;
use crate::timeline::listing::Listing;
use crate::timeline::loader::Loader;
use crate::timeline::names::Folder;
use crate::timeline::newest::{HINT_EVERY, Newest, find_newest, write_hint};
use crate::timeline::pieces::{Cutter, Pieces};
use crate::timeline::record::Record;
use crate::timeline::step::Step;
use crate::timeline::survey::read_steps;

/// How often an append is tried again after other writers took its number.
const MAX_REBASES: u32 = 1000;

/// How often it is tried again while another write of the same number is in progress.
const MAX_RETRIES: u32 = 10;

/// The largest state that is kept in memory, and the largest that is compared as a whole.
pub const MAX_IN_MEMORY: u64 = 64 << 20;

/// How long after it found the newest step a writer may store the next one without asking
/// for gaps, in milliseconds of the storage's clock. Markers stay for a week.
const STALE: u64 = 24 * 60 * 60 * 1000;

/// The same for a storage whose clock is not the one by which objects have their times: it
/// does not show a change of that clock, which may make markers look old.
const STALE_BY_OTHER_CLOCK: u64 = 60 * 1000;

/// Whether the storage's clock is the one by which objects have their times.
fn is_wall_clock(info: &ObjectInfo) -> bool {
    let (Some(now), Some(modified)) = (info.storage_time, info.modified) else { return true };
    now.abs_diff(modified) <= STALE
}

/// A timeline: a folder in which each object is one step. It keeps the newest step's state,
/// so that the next append does not have to read it.
#[derive(Debug)]
pub struct Timeline<S> {
    pub(super) storage: S,
    pub(super) folder: Folder,
    known: Option<Known>,
    /// The storage's clock when the newest step was found.
    found_at: Option<u64>,
    /// The last steps that this writer appended, one after the other, for the catalogue.
    appended: Vec<Row>,
    /// The newest step that this writer appended, if the hint does not name it yet.
    unhinted: Option<(u64, [u8; 32])>,
}

/// What is at a number where a writer wanted to store a step.
enum Taken {
    /// The writer's own step, or the marker in its place.
    Own(ObjectInfo),
    /// Another's.
    Other,
    /// Nothing.
    Free,
}

/// Whether a write that failed with this error may be done, or another's is.
fn may_be_there(error: &Error) -> bool {
    matches!(error.code, ErrorCode::AlreadyExists | ErrorCode::Conflict | ErrorCode::OutcomeUnknown)
}

/// Whether an error is about what is stored, and not about the storage.
pub(super) fn is_damage(error: &Error) -> bool {
    use ErrorCode::{Integrity, InvalidFormat, LimitExceeded, NotASnapshot, NotFound, UnsupportedFormat, WrongKind};
    matches!(error.code, Integrity | InvalidFormat | LimitExceeded | NotASnapshot | NotFound | UnsupportedFormat | WrongKind)
}

impl<S: Storage> Timeline<S> {
    /// Opens the timeline in a folder, which ends with `/`. Nothing is read yet.
    pub fn new(storage: S, prefix: &str) -> Self {
        Self { storage, folder: Folder::new(prefix), known: None, found_at: None, appended: Vec::new(), unhinted: None }
    }

    /// Returns another handle of the same timeline.
    pub(super) fn reader_of_same(&self) -> Self {
        Self::new(self.storage.clone(), self.folder.prefix())
    }

    /// Forgets the newest step, which may be another one by now.
    pub(super) fn forget(&mut self) {
        self.known = None;
        self.appended.clear();
    }

    /// Appends a step that repeats an earlier one.
    pub(super) fn restate(&mut self, number: u64) -> Result<()> {
        let step = self.step(number)?;
        self.restate_step(&step).map(drop)
    }

    /// Appends a step that repeats another. Returns its number.
    pub(super) fn restate_step(&mut self, step: &Step) -> Result<u64> {
        let mut reader = self.reader(step.clone(), true)?;
        let known = self.take_known()?;
        let key = self.folder.step(known.next());
        let options = SaveOptions { codec: Some(step.document.document.codec), ..SaveOptions::default() };
        let mut large = Large::open(&self.storage, &key, known, Pieces::default(), &options, true)?;
        loop {
            let part = reader.next()?;
            if part.is_empty() {
                return self.commit_restating(large, &options, Some(step), None).map(|(number, _)| number);
            }
            large.write(&part)?;
        }
    }

    /// Appends a state of at most [`MAX_IN_MEMORY`] bytes as the next step, and returns its
    /// metadata. `content_hash` is its SHA-256, if the caller has computed it.
    pub fn append(
        &mut self,
        state: Vec<u8>,
        options: &SaveOptions,
        on_conflict: OnConflict,
        content_hash: Option<[u8; 32]>,
    ) -> Result<(u64, Metadata)> {
        if state.len() as u64 > MAX_IN_MEMORY {
            let message =
                format!("a state of {} bytes has to be appended in parts: more than {MAX_IN_MEMORY} at once are refused", state.len());
            return Err(Error::argument(message));
        }
        let hash = content_hash.unwrap_or_else(|| Sha256::digest(&state).into());
        let mut rebases = 0;
        loop {
            let known = self.take_known()?;
            if known.head().is_some_and(|head| matches!(head.content(), Content::Pieces(_))) {
                return self.append_after_large(known, state, options, hash);
            }
            let mut prepared = known.prepare(&self.folder, &state, options, Some(hash))?;
            match self.claim(&mut prepared) {
                Ok(()) => {
                    let (number, metadata) = (prepared.step.document.number, prepared.step.metadata());
                    self.appended(&prepared.step.clone(), prepared.into_head(state));
                    return Ok((number, metadata));
                }
                Err(error) if error.code != ErrorCode::AlreadyExists || on_conflict == OnConflict::Fail || rebases == MAX_REBASES => {
                    return Err(error);
                }
                Err(_) => rebases += 1,
            }
        }
    }

    /// Returns what the next step follows, and forgets it.
    fn take_known(&mut self) -> Result<Known> {
        match self.known.take() {
            Some(known) => Ok(known),
            None => self.find_known(),
        }
    }

    /// Reads the newest step and its state.
    fn find_known(&mut self) -> Result<Known> {
        self.appended.clear();
        let newest = find_newest(&self.storage, &self.folder)?;
        let number = newest.number() + 1;
        self.found_at = newest.storage_time();
        Ok(match newest {
            Newest::Step(step) => {
                let parent = Some(step.root);
                let read = || {
                    let chain = Chain::of_step(&self.storage, &self.folder, *step)?;
                    let content = self.content(&chain)?;
                    Ok(Head::new(chain, content))
                };
                match read() {
                    Ok(head) => Known::Head(head),
                    // The next step is whole, whatever happened to the ones before it.
                    Err(error) if is_damage(&error) => Known::Start { number, parent },
                    Err(error) => return Err(error),
                }
            }
            Newest::End { root, .. } => Known::Start { number, parent: Some(root) },
            Newest::Damaged { error, .. } if !is_damage(&error) => return Err(error),
            Newest::Nothing | Newest::Gap { .. } | Newest::Damaged { .. } => Known::Start { number, parent: None },
        })
    }

    /// Reads a state, as far as it is kept.
    fn content(&self, chain: &Chain) -> Result<Content> {
        let mut loader = Loader::new(chain.clone(), true);
        if chain.state_size() <= MAX_IN_MEMORY {
            return loader.read_to_end(&self.storage, MAX_IN_MEMORY).map(Content::Bytes);
        }
        let (mut pieces, mut cutter) = (Pieces::default(), Cutter::default());
        loop {
            let part = loader.next(&self.storage)?;
            if part.is_empty() {
                cutter.finish(|piece| pieces.push(piece))?;
                return Ok(Content::Pieces(pieces));
            }
            cutter.push(&part, |piece| pieces.push(piece))?;
        }
    }

    /// Starts a large state.
    pub(super) fn open_large(&mut self, options: &SaveOptions, host_hashes: bool) -> Result<Large<S>> {
        let known = self.take_known()?;
        let base = match known.head().filter(|head| head.may_be_base()) {
            Some(head) => pieces_of(head.content())?,
            None => Pieces::default(),
        };
        let key = self.folder.step(known.next());
        Large::open(&self.storage, &key, known, base, options, !host_hashes)
    }

    /// Stores a large state, all of which has come in.
    pub(super) fn commit_large(
        &mut self,
        large: Large<S>,
        options: &SaveOptions,
        content_hash: Option<[u8; 32]>,
    ) -> Result<(u64, Metadata)> {
        self.commit_restating(large, options, None, content_hash)
    }

    /// The same for a state that repeats that of an earlier step.
    pub(super) fn commit_restating(
        &mut self,
        large: Large<S>,
        options: &SaveOptions,
        restated: Option<&Step>,
        content_hash: Option<[u8; 32]>,
    ) -> Result<(u64, Metadata)> {
        let folder = self.folder.clone();
        let prepare = |known: &Known, encoded, written| known.end_of(&folder, options, restated, encoded, written);
        let Finished { writer, mut step, older, pieces } = large.finish(prepare, content_hash)?;
        match writer.commit() {
            Ok(info) => step.info = info,
            Err(error) if may_be_there(&error) => match self.look(&step)? {
                Taken::Own(info) => step.info = info,
                Taken::Other => return Err(self.conflict(step.document.number)),
                Taken::Free => return Err(error),
            },
            Err(error) => return Err(error),
        }
        self.check_age(self.found_at, step.document.number, &step.info)?;
        let (number, metadata) = (step.document.number, step.metadata());
        let chain = Chain { steps: std::iter::once(step.clone()).chain(older).collect() };
        self.appended(&step, Head::new(chain, Content::Pieces(pieces)));
        Ok((number, metadata))
    }

    /// Appends a state after a large one.
    fn append_after_large(&mut self, known: Known, state: Vec<u8>, options: &SaveOptions, hash: [u8; 32]) -> Result<(u64, Metadata)> {
        self.known = Some(known);
        let mut large = self.open_large(options, true)?;
        for part in state.chunks(CHUNK) {
            large.write(part)?;
        }
        let stored = self.commit_large(large, options, Some(hash))?;
        // Of a state that is not large, all is kept.
        if let Some(Known::Head(head)) = &mut self.known {
            head.keep(state);
        }
        Ok(stored)
    }

    /// Stores a step under its number. Fails with `already-exists` if another writer has
    /// taken the number; with any other code the error tells the outcome of the write.
    pub(super) fn claim(&mut self, prepared: &mut Prepared) -> Result<()> {
        let mut retries = 0;
        loop {
            let Err(error) = prepared.write(&self.storage) else { break };
            if !may_be_there(&error) {
                return Err(error);
            }
            match self.look(&prepared.step)? {
                Taken::Own(info) => {
                    prepared.step.info = info;
                    break;
                }
                Taken::Other => return Err(self.conflict(prepared.step.document.number)),
                // If an earlier request arrives after all, its bytes are the same.
                Taken::Free if retries == MAX_RETRIES => return Err(error),
                Taken::Free => retries += 1,
            }
        }
        self.check_age(self.found_at, prepared.step.document.number, &prepared.step.info)
    }

    fn conflict(&self, number: u64) -> Error {
        Error::new(ErrorCode::AlreadyExists, format!("another writer has appended step {number}"))
            .with("number", number)
            .with(HINT, "load the newest step and decide again, or append with on-conflict rebase")
            .at(&self.folder.step(number))
    }

    /// Looks for a step that may have been stored, although the reply was lost.
    fn look(&self, step: &Step) -> Result<Taken> {
        let number = step.document.number;
        let end = self.storage.read_ends(&[&self.folder.step(number)], TAIL)?.pop();
        let (info, tail) = match end.unwrap_or_else(|| Err(Error::short_read(0, 1))) {
            Ok(end) => end,
            Err(error) if error.code == ErrorCode::NotFound => return Ok(Taken::Free),
            Err(error) => return Err(error),
        };
        let is_own = if !is_step_size(info.size) {
            matches!(Record::parse(&tail), Ok(Record::Removed { root, .. }) if root == crate::hash::hex(&step.root))
        } else {
            Step::parse(&self.storage, info.clone(), tail, number).is_ok_and(|found| found.root == step.root)
        };
        Ok(if is_own { Taken::Own(info) } else { Taken::Other })
    }

    /// After a long pause the number that was free may be one that was used and removed, and
    /// whose marker is gone. Then there is a gap, and what was stored is withdrawn.
    pub(super) fn check_age(&self, found_at: Option<u64>, number: u64, info: &ObjectInfo) -> Result<()> {
        let (found, stored) = match (found_at, info.storage_time) {
            (Some(found), Some(stored)) => (found, stored),
            // Nothing was there, or the storage has no clock: then markers stay for ever.
            (_, None) => return Ok(()),
            (None, Some(stored)) => (0, stored),
        };
        let limit = if is_wall_clock(info) { STALE } else { STALE_BY_OTHER_CLOCK };
        if stored.saturating_sub(found) <= limit || !Listing::read(&self.storage, &self.folder, 1)?.is_in_gap(number) {
            return Ok(());
        }
        self.delete_object(&self.folder.step(number))?;
        Err(self.conflict(number))
    }

    /// Keeps the step that was appended, and writes what is derived from it. If that fails,
    /// nothing is lost.
    pub(super) fn appended(&mut self, step: &Step, head: Head) {
        let number = step.document.number;
        self.found_at = step.info.storage_time;
        if self.appended.last().is_some_and(|row| row.number + 1 != number) || self.appended.len() as u64 >= SPAN {
            self.appended.clear();
        }
        self.appended.push(Row::of(step));
        self.known = Some(Known::Head(head));
        self.unhinted = Some((number, step.root));
        if number.is_multiple_of(HINT_EVERY) {
            let _ = self.finish();
        }
        if number.is_multiple_of(SPAN) {
            let _ = self.catalogue(number);
        }
    }

    /// Writes down that the newest step that was appended is there, so that its loss would be
    /// noticed. To be called when a writer ends. If it is not, at most the last 15 steps could
    /// be lost without notice; they are stored all the same.
    pub fn finish(&mut self) -> Result<()> {
        match self.unhinted.take() {
            Some((number, root)) => write_hint(&self.storage, &self.folder, number, &root),
            None => Ok(()),
        }
    }

    /// Writes the catalogue of the steps up to `last`.
    fn catalogue(&mut self, last: u64) -> Result<()> {
        let first = last - SPAN + 1;
        let mut rows = std::mem::take(&mut self.appended);
        rows.retain(|row| covering(row.number) == last);
        let begun = rows.first().map_or(last, |row| row.number - 1);
        let older: Vec<u64> = (first..=begun).collect();
        let steps = read_steps(&self.storage, &self.folder, &older)?;
        let mut all: Vec<Row> = steps.into_iter().filter_map(|(_, step)| Some(Row::of(&step.ok()?))).collect();
        all.append(&mut rows);
        write_catalogue(&self.storage, &self.folder, last, &all)
    }

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
        let (key, hidden) = (self.folder.step(number), self.folder.hidden(number));
        let mut ends = self.storage.read_ends(&[&key, &hidden], TAIL)?.into_iter();
        let end = ends.next().unwrap_or_else(|| Err(Error::short_read(0, 1)));
        let (info, tail) = end.map_err(|error| self.explain(number, error).at(&key))?;
        if ends.next().is_some_and(|hidden| hidden.is_ok()) {
            return Err(Error::new(ErrorCode::NotFound, format!("step {number} was removed")).at(&key));
        }
        Step::parse(&self.storage, info, tail, number)
    }

    /// Opens the state of the newest step.
    pub fn open_newest(&self, hashes: bool) -> Result<StateReader<S>> {
        self.reader(self.newest_step()?, hashes)
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
        match listing.steps.numbers().next_back() {
            Some(last) if last > number => Error::integrity(format!("step {number} is missing, and later ones are there")),
            _ => Error::new(ErrorCode::NotFound, format!("the timeline has no step {number}")),
        }
    }

    pub(super) fn reader(&self, step: Step, hashes: bool) -> Result<StateReader<S>> {
        let (metadata, number) = (step.metadata(), step.document.number);
        let chain = Chain::of_step(&self.storage, &self.folder, step)?;
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
            (self.part, self.given) = (self.next()?, 0);
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
    pub fn next(&mut self) -> Result<Vec<u8>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.loader.next(&self.storage).inspect_err(|error| self.failed = Some(error.clone()))
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
