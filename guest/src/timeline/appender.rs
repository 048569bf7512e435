//! Appends a state that comes in parts. A state of up to [`MAX_IN_MEMORY`] bytes is kept until
//! the commit. A larger one is stored while it comes in: what is not found among the pieces
//! of the newest state goes into the next step at once.

use std::cell::RefCell;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::codec::Codec;
use crate::error::{Error, ErrorCode, Result};
use crate::metadata::{Metadata, SaveOptions};
use crate::storage::{CHUNK, Precondition, Storage, WriteOptions, Writer as _};
use crate::timeline::append::{Content, Encoded, Known};
use crate::timeline::edits::{EditList, Run};
use crate::timeline::frames::Frames;
use crate::timeline::handle::{MAX_IN_MEMORY, OnConflict, Timeline};
use crate::timeline::pieces::{Cutter, Pieces, hash};
use crate::timeline::step::Step;

/// The most runs of a large state. After them, everything is new.
const MAX_RUNS: usize = 2000;

/// A state being appended. Dropped without a commit, it stores nothing.
pub struct Appender<S: Storage> {
    timeline: Rc<RefCell<Timeline<S>>>,
    options: SaveOptions,
    on_conflict: OnConflict,
    begun: Vec<u8>,
    large: Option<Large<S>>,
    failed: Option<Error>,
}

/// A large state, most of which is stored already.
pub(super) struct Large<S: Storage> {
    writer: S::Writer,
    known: Known,
    /// The pieces of the newest state; none if the step depends on no other.
    base: Pieces,
    /// Those of the state that comes in.
    pieces: Pieces,
    cutter: Cutter,
    out: Out,
    hash: Option<Sha256>,
}

/// What goes into the step.
struct Out {
    codec: Codec,
    level: i32,
    edits: EditList,
    /// Literal bytes that are less than a block.
    literal: Vec<u8>,
    frames: Frames,
    /// Bytes of the object that were written already.
    written: u64,
}

impl<S: Storage> Appender<S> {
    /// Starts appending a state.
    pub fn open(timeline: Rc<RefCell<Timeline<S>>>, options: SaveOptions, on_conflict: OnConflict) -> Result<Self> {
        options.codec.unwrap_or(Codec::Zstd).level(options.level)?;
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
        let mut large = self.timeline.borrow_mut().open_large(&self.options, self.options.host_hashes)?;
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
            Some(large) => timeline.commit_large(large, &self.options, content_hash).map_err(|error| {
                if self.on_conflict == OnConflict::Fail || error.code != ErrorCode::AlreadyExists {
                    return error;
                }
                // A caller that has the state can send it again.
                Error { code: ErrorCode::Conflict, retryable: true, ..error }
            }),
        }
    }
}

impl<S: Storage> Large<S> {
    pub(super) fn open(storage: &S, key: &str, known: Known, base: Pieces, options: &SaveOptions, hashes: bool) -> Result<Self> {
        let codec = options.codec.unwrap_or(Codec::Zstd);
        let write = WriteOptions {
            precondition: Precondition::IfAbsent,
            object_size_hint: options.state_size_hint,
            content_type: Some("application/octet-stream".to_owned()),
            attributes: options.attributes.clone(),
        };
        let out = Out {
            codec,
            level: codec.level(options.level)?,
            edits: EditList::default(),
            literal: Vec::new(),
            frames: Frames::default(),
            written: 0,
        };
        let writer = storage.open_write(key, write)?;
        Ok(Self { writer, known, base, pieces: Pieces::default(), cutter: Cutter::default(), out, hash: hashes.then(Sha256::new) })
    }

    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<()> {
        if let Some(hash) = &mut self.hash {
            hash.update(chunk);
        }
        let Self { writer, base, pieces, cutter, out, .. } = self;
        cutter.push(chunk, |piece| out.push(piece, base, pieces, writer))
    }

    /// Writes what is left of the literal bytes, and then the end of the object. Returns the
    /// step, which is to be committed.
    pub(super) fn finish(
        mut self,
        prepare: impl FnOnce(&Known, Encoded, u64) -> Result<(Vec<u8>, Step)>,
        content_hash: Option<[u8; 32]>,
    ) -> Result<Finished<S>> {
        let Self { writer, base, pieces, cutter, out, .. } = &mut self;
        cutter.finish(|piece| out.push(piece, base, pieces, writer))?;
        out.flush(1, writer)?;
        let own = self.hash.map(|hash| hash.finalize().into());
        let hash = content_hash.or(own).ok_or_else(|| Error::argument("the content hash of the state is missing"))?;
        let Out { codec, edits, frames, written, .. } = self.out;
        let is_copied = edits.runs().iter().any(|run| matches!(run, Run::Copy { .. }));
        let older = if is_copied { self.known.steps() } else { Vec::new() };
        let encoded = Encoded { edits, frames, older: older.clone(), codec, hash };
        let (end, step) = prepare(&self.known, encoded, written)?;
        for part in end.chunks(CHUNK) {
            self.writer.write(part)?;
        }
        Ok(Finished { writer: self.writer, step, older, pieces: self.pieces })
    }
}

/// A large step that only has to be committed.
pub(super) struct Finished<S: Storage> {
    pub(super) writer: S::Writer,
    pub(super) step: Step,
    pub(super) older: Vec<Step>,
    pub(super) pieces: Pieces,
}

impl Out {
    /// Takes the next piece of the state: copies it if the base has it.
    fn push(&mut self, piece: &[u8], base: &Pieces, pieces: &mut Pieces, writer: &mut impl crate::storage::Writer) -> Result<()> {
        let hash = hash(piece);
        pieces.add(hash, piece.len());
        let length = piece.len() as u64;
        match base.find(&hash).filter(|_| self.edits.runs().len() < MAX_RUNS) {
            Some(start) => self.edits.push(Run::Copy { start, length }),
            None => {
                self.edits.push(Run::Literal { length });
                self.literal.extend_from_slice(piece);
            }
        }
        self.flush(Codec::Zstd.block_size() as usize, writer)
    }

    /// Encodes and writes literal bytes, as long as this many are there.
    fn flush(&mut self, least: usize, writer: &mut impl crate::storage::Writer) -> Result<()> {
        while self.literal.len() >= least {
            let block = self.literal.len().min(Codec::Zstd.block_size() as usize);
            let rest = self.literal.split_off(block);
            self.frames.push_block(&std::mem::replace(&mut self.literal, rest), self.codec, self.level)?;
            let data = std::mem::take(&mut self.frames.data);
            for part in data.chunks(CHUNK) {
                writer.write(part)?;
            }
            self.written += data.len() as u64;
        }
        Ok(())
    }
}

/// The content of the newest state as pieces.
pub(super) fn pieces_of(content: &Content) -> Result<Pieces> {
    match content {
        Content::Bytes(bytes) => Pieces::of(bytes),
        Content::Pieces(pieces) => Ok(pieces.clone()),
    }
}
