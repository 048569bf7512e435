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
use crate::timeline::catalogue::{Row, SPAN, covering, write_catalogue};
use crate::timeline::chain::Chain;
use crate::timeline::large::{Finished, Large, pieces_of};
use crate::timeline::loader::Loader;
use crate::timeline::names::Folder;
use crate::timeline::newest::{self, HINT_EVERY, Newest, find_newest, write_hint};
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

/// Returns what a step follows that depends on no other.
fn start_after(newest: Newest) -> Result<Known> {
    let number = newest.number() + 1;
    let parent = match newest {
        Newest::Step(step) => Some(step.root),
        Newest::End { root, .. } => Some(root),
        Newest::Damaged { error, .. } if !error.is_damage() => return Err(error),
        Newest::Nothing | Newest::Gap { .. } | Newest::Damaged { .. } => None,
    };
    Ok(Known::Start { number, parent })
}

/// Whether a write that failed with this error may be done, or another's is.
fn may_be_there(error: &Error) -> bool {
    matches!(error.code, ErrorCode::AlreadyExists | ErrorCode::Conflict | ErrorCode::OutcomeUnknown)
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

    /// Returns the number of the newest step, and the bytes of a hint that names it.
    pub fn newest_hint(&self) -> Result<(u64, Vec<u8>)> {
        newest::newest_hint(&self.storage, &self.folder)
    }

    /// Stores a step that repeats another as the one after `newest`, and never later: a state that
    /// was appended since must not get an older one after it.
    pub(super) fn restate_step(&mut self, step: &Step, newest: u64) -> Result<u64> {
        let mut reader = self.reader(step.clone(), true)?;
        self.appended.clear();
        self.found_at = step.info.storage_time;
        let known = Known::Start { number: newest + 1, parent: (newest == step.document.number).then_some(step.root) };
        let options = SaveOptions { codec: Some(step.document.document.codec), ..SaveOptions::default() };
        let mut large = self.open_after(known, Pieces::default(), &options, true)?;
        loop {
            let part = reader.next_part()?;
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
            let message = "a state of over 64 MiB has to be appended in parts";
            return Err(Error::argument(message));
        }
        let hash = content_hash.unwrap_or_else(|| Sha256::digest(&state).into());
        let mut rebases = 0;
        loop {
            let known = self.take_known(options)?;
            let before = known.head().and_then(|head| head.step()).map(|step| step.document.number);
            let is_after_large = known.head().is_some_and(|head| matches!(head.content(), Content::Pieces(_)));
            let appended = if is_after_large {
                self.append_after_large(known, &state, options, hash)
            } else {
                self.append_after(&known, &state, options, hash)
            };
            match appended {
                Ok(appended) => {
                    // Of a state that is not large, all is kept.
                    if let Some(Known::Head(head)) = &mut self.known {
                        head.keep(state);
                    }
                    return Ok(appended);
                }
                Err(error) if error.code != ErrorCode::AlreadyExists || rebases == MAX_REBASES => return Err(error),
                Err(error) => {
                    rebases += 1;
                    if on_conflict == OnConflict::Fail {
                        self.go_on_after(before, error)?;
                    }
                }
            }
        }
    }

    /// Goes on after a lost race if the newest step only repeats the one with this number, which
    /// pruning has removed: then nobody has appended a state. Otherwise returns the error.
    fn go_on_after(&mut self, number: Option<u64>, error: Error) -> Result<()> {
        let known = self.find_known()?;
        let restates = known.head().and_then(|head| head.step()).and_then(|step| step.document.restates);
        if number.is_some() && restates == number {
            self.known = Some(known);
            return Ok(());
        }
        if known.head().is_none() && matches!(find_newest(&self.storage, &self.folder)?, Newest::End { .. }) {
            return Err(Error { message: "the timeline was deleted by another program".to_owned(), ..error });
        }
        Err(error)
    }

    /// Returns what the next step follows, and forgets it. Fails with `already-exists` if the
    /// options name another number than the next step's.
    fn take_known(&mut self, options: &SaveOptions) -> Result<Known> {
        let known = match self.known.take() {
            Some(known) => known,
            None => self.find_known()?,
        };
        match options.snapshot_index {
            number if number == 0 || number == known.next() => Ok(known),
            _ => Err(self.conflict(known.next() - 1)),
        }
    }

    /// Reads the newest step and its state.
    fn find_known(&mut self) -> Result<Known> {
        self.appended.clear();
        let newest = find_newest(&self.storage, &self.folder)?;
        self.found_at = newest.storage_time();
        if let Newest::Step(step) = &newest {
            let read = || -> Result<Head> {
                let chain = Chain::of_step(&self.storage, &self.folder, Step::clone(step))?;
                let content = self.content(&chain)?;
                Ok(Head::new(chain, content))
            };
            match read() {
                Ok(head) => return Ok(Known::Head(head)),
                // The next step is whole, whatever happened to the ones before it.
                Err(error) if error.is_damage() || error.code == ErrorCode::LimitExceeded => {}
                Err(error) => return Err(error),
            }
        }
        start_after(newest)
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
        let known = self.take_known(options)?;
        let base = match known.head().filter(|head| head.may_be_base()) {
            Some(head) => pieces_of(head.content())?,
            None => Pieces::default(),
        };
        self.open_after(known, base, options, !host_hashes)
    }

    /// Opens the object of the next step. Some storages find out here that the number is taken.
    fn open_after(&self, known: Known, base: Pieces, options: &SaveOptions, hashes: bool) -> Result<Large<S>> {
        let number = known.next();
        let opened = Large::open(&self.storage, &self.folder.step(number), known, base, options, hashes);
        opened.map_err(|error| if error.code == ErrorCode::AlreadyExists { self.conflict(number) } else { error })
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
        self.check_age(self.found_at, step.document.number, step.document.parent, &step.info)?;
        let (number, metadata) = (step.document.number, step.metadata());
        let chain = Chain { steps: std::iter::once(step.clone()).chain(older).collect() };
        self.appended(&step, Head::new(chain, Content::Pieces(pieces)));
        Ok((number, metadata))
    }

    /// Appends a state, compared with the newest as a whole.
    fn append_after(&mut self, known: &Known, state: &[u8], options: &SaveOptions, hash: [u8; 32]) -> Result<(u64, Metadata)> {
        let mut prepared = known.prepare(&self.folder, state, options, Some(hash))?;
        self.claim(&mut prepared)?;
        let appended = (prepared.step.document.number, prepared.step.metadata());
        self.appended(&prepared.step.clone(), prepared.into_head());
        Ok(appended)
    }

    /// Appends a state after a large one.
    fn append_after_large(&mut self, known: Known, state: &[u8], options: &SaveOptions, hash: [u8; 32]) -> Result<(u64, Metadata)> {
        self.known = Some(known);
        let mut large = self.open_large(options, true)?;
        for part in state.chunks(CHUNK) {
            large.write(part)?;
        }
        self.commit_large(large, options, Some(hash))
    }

    /// Stores a step under its number. Fails with `already-exists` if another writer has
    /// taken the number; with any other code the error tells the outcome of the write.
    pub(super) fn claim(&mut self, prepared: &mut Prepared) -> Result<()> {
        let mut retries = 0;
        while let Err(error) = prepared.write(&self.storage) {
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
        let Step { document, info, .. } = &prepared.step;
        self.check_age(self.found_at, document.number, document.parent, info)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn conflict(&self, number: u64) -> Error {
        Error::new(ErrorCode::AlreadyExists, format!("another writer has appended step {number}"))
            .with("number", number)
            .with(HINT, "load the newest step and redo your change, or append with on-conflict rebase")
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

    /// Keeps the step that was appended, and writes what is derived from it. If that fails,
    /// nothing is lost.
    pub(super) fn appended(&mut self, step: &Step, head: Head) {
        let number = step.document.number;
        // A storage may have a clock and not always say.
        self.found_at = step.info.storage_time.or(self.found_at);
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
}
