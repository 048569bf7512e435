//! Salvages by the table: each block on its own.

use super::report::{Break, Hole};
use super::source::{Next, Proof, is_about_content};
use crate::codec::{BlockRef, Decoder};
use crate::error::{Error, Result};
use crate::open::{BATCH, OpenSnapshot};
use crate::storage::{ByteRange, Storage, read_all};

/// The blocks of a snapshot whose table is whole.
pub(super) struct BlockSource<S> {
    pub(super) storage: S,
    snapshot: OpenSnapshot,
    /// The bytes that were added somewhere before the table, or were lost if negative.
    pub(super) shift: i128,
    batch: Vec<BlockRef>,
    next: usize,
    state_offset: u64,
    decoder: Decoder,
}

impl<S: Storage> BlockSource<S> {
    pub(super) fn new(storage: &S, snapshot: OpenSnapshot, shift: i128) -> Self {
        let (batch, decoder) = (Vec::new(), Decoder::default());
        Self { storage: storage.clone(), snapshot, shift, batch, next: 0, state_offset: 0, decoder }
    }

    pub(super) fn next(&mut self, block: &mut Vec<u8>) -> Result<Next> {
        let in_batch = self.next % BATCH;
        if in_batch == 0 {
            self.batch = self.snapshot.batch(self.next);
        }
        let Some(wanted) = self.batch.get(in_batch) else {
            return Ok(Next::End { offset: self.snapshot.head.footer.data, proof: Proof::None });
        };
        // The bytes around the frames hold none of the state.
        let frame =
            BlockRef { offset: wanted.offset + wanted.prefix.len() as u64, prefix: Vec::new(), suffix: Vec::new(), ..wanted.clone() };
        let mut reason = None;
        let shifted = u64::try_from(i128::from(frame.offset) + self.shift).ok().filter(|shifted| *shifted != frame.offset);
        for offset in [Some(frame.offset), shifted].into_iter().flatten() {
            let span = ByteRange::Span { offset, length: frame.slice_length() as u64 };
            let info = &self.snapshot.head.info;
            if offset >= info.size {
                continue;
            }
            let slice = read_all(&mut self.storage.open_read(&info.key, span, info.etag.as_deref())?, frame.slice_length())?;
            // Missing bytes count as changed ones.
            let decoded = match slice.len() == frame.slice_length() {
                true => self.decoder.decode(&frame, &slice, block),
                false => Err(Error::integrity(format!("a frame is {} bytes long instead of {}", slice.len(), frame.slice_length()))),
            };
            match decoded {
                Ok(()) => {
                    self.next += 1;
                    self.state_offset += u64::from(frame.length);
                    return Ok(Next::Bytes);
                }
                Err(error) if is_about_content(error.code) => reason = reason.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        block.clear();
        let hole = Hole { state_offset: self.state_offset, length: u64::from(frame.length), object_offset: wanted.offset };
        let reason = reason.unwrap_or_else(|| Error::integrity("a frame is missing"));
        let found = Break { offset: wanted.offset, reason };
        self.next += 1;
        self.state_offset += u64::from(frame.length);
        Ok(Next::Hole(hole, found))
    }
}
