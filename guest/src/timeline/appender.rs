//! Appends a state that comes in parts. A state of up to [`MAX_IN_MEMORY`] bytes is kept until
//! the commit. A larger one is stored while it comes in: what is not found among the pieces
//! of the newest state goes into the next step at once.

use std::cell::RefCell;
use std::rc::Rc;

use crate::codec::Codec;
use crate::error::{Error, ErrorCode, Result};
use crate::metadata::{Metadata, SaveOptions};
use crate::storage::{CHUNK, Storage};
use crate::timeline::handle::{MAX_IN_MEMORY, OnConflict, Timeline};
use crate::timeline::large::Large;

/// A state being appended. Dropped without a commit, it stores nothing.
pub struct Appender<S: Storage> {
    timeline: Rc<RefCell<Timeline<S>>>,
    options: SaveOptions,
    on_conflict: OnConflict,
    begun: Vec<u8>,
    large: Option<Large<S>>,
    failed: Option<Error>,
}

impl<S: Storage> Appender<S> {
    /// Starts appending a state.
    pub fn open(timeline: Rc<RefCell<Timeline<S>>>, options: SaveOptions, on_conflict: OnConflict) -> Result<Self> {
        options.codec.unwrap_or(Codec::Zstd).level(options.level)?;
        // Sent again, it would get another number.
        let on_conflict = if options.snapshot_index == 0 { on_conflict } else { OnConflict::Fail };
        Ok(Self { timeline, options, on_conflict, begun: Vec::new(), large: None, failed: None })
    }

    /// Takes the next bytes of the state.
    pub fn write(&mut self, chunk: &[u8]) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.write_inner(chunk).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn write_inner(&mut self, chunk: &[u8]) -> Result<()> {
        if let Some(large) = &mut self.large {
            return large.write(chunk);
        }
        if (self.begun.len() + chunk.len()) as u64 <= MAX_IN_MEMORY {
            self.begun.extend_from_slice(chunk);
            return Ok(());
        }
        let opened = self.timeline.borrow_mut().open_large(&self.options, self.options.host_hashes);
        let mut large = opened.map_err(|error| lost(self.on_conflict, error))?;
        for part in std::mem::take(&mut self.begun).chunks(CHUNK).chain([chunk]) {
            large.write(part)?;
        }
        self.large = Some(large);
        Ok(())
    }

    /// Appends the state, and returns the number and the metadata of the step.
    pub fn commit(self, content_hash: Option<[u8; 32]>) -> Result<(u64, Metadata)> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut timeline = self.timeline.borrow_mut();
        match self.large {
            None => timeline.append(self.begun, &self.options, self.on_conflict, content_hash),
            Some(large) => {
                let committed = timeline.commit_large(large, &self.options, content_hash);
                committed.map_err(|error| lost(self.on_conflict, error))
            }
        }
    }
}

/// Returns the error of a large state that lost a race: with rebase, a caller that has the
/// state can send it again.
fn lost(on_conflict: OnConflict, error: Error) -> Error {
    if on_conflict == OnConflict::Rebase && error.code == ErrorCode::AlreadyExists {
        return Error { code: ErrorCode::Conflict, retryable: true, ..error };
    }
    error
}
