//! A large state, which goes into the next step while it comes in: what is not found among
//! the pieces of the newest state is literal.

use sha2::{Digest, Sha256};

use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::metadata::SaveOptions;
use crate::storage::{CHUNK, Precondition, Storage, WriteOptions, Writer as _};
use crate::timeline::append::{Content, Encoded, Head, Known};
use crate::timeline::chain::may_repeat;
use crate::timeline::edits::{EditList, Run};
use crate::timeline::frames::Frames;
use crate::timeline::pieces::{Cutter, Pieces, hash};
use crate::timeline::step::Step;

/// The most runs of a large state. After them, everything is new.
const MAX_RUNS: usize = 2000;

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
    /// Literal bytes of the steps that it may depend on, and its own.
    literals: u64,
    /// Bytes of the object that were written already.
    written: u64,
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
            literals: known.head().map_or(0, Head::literals),
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
        let may_copy = self.edits.runs().len() < MAX_RUNS && may_repeat(pieces.size(), self.literals);
        match base.find(&hash).filter(|_| may_copy) {
            Some(start) => self.edits.push(Run::Copy { start, length }),
            None => {
                self.literals += length;
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
