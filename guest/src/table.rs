//! The block table: one row a block, in the order of the state.

use crate::codec::{BlockRef, Codec};
use crate::error::{Error, ErrorCode, Result};

/// Bytes of a row: encoded length, length, SHA-256 of the frame.
pub(crate) const ROW: usize = 40;

/// More blocks are neither written nor read: it bounds the table in memory to
/// 10 MiB, and a state to 256 GiB in blocks of 1 MiB.
pub const MAX_BLOCKS: u32 = 262_144;

/// The rows, as they are stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Vec<u8>);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) frame_length: u32,
    pub(crate) length: u32,
    pub(crate) hash: [u8; 32],
}

impl Table {
    /// Appends the row of a block whose frame is `frame_length` bytes long.
    pub(crate) fn push(&mut self, frame_length: usize, length: u32, hash: &[u8; 32]) -> Result<()> {
        if self.len() >= MAX_BLOCKS as usize {
            return Err(Error::new(
                ErrorCode::LimitExceeded,
                format!("the state is too large: a snapshot has at most {MAX_BLOCKS} blocks"),
            ));
        }
        let frame_length =
            u32::try_from(frame_length).map_err(|_| Error::argument(format!("a frame of {frame_length} bytes is too long")))?;
        // What readers refuse is not written.
        if frame_length == 0 || frame_length > Codec::max_frame_length(length) {
            return Err(Error::argument(format!("a block of {length} bytes can't have a frame of {frame_length}")));
        }
        self.0.extend_from_slice(&frame_length.to_le_bytes());
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(hash);
        Ok(())
    }

    /// Reads rows. The bytes are covered by the digest, so that whatever is
    /// wrong with them was written so.
    pub(crate) fn parse(bytes: Vec<u8>, block_size: u32) -> Result<Self> {
        let table = Self(bytes);
        let count = table.len();
        if count == 0 || !table.0.len().is_multiple_of(ROW) {
            return Err(Error::format(format!("a block table of {} bytes is not a number of rows", table.0.len())));
        }
        for (index, row) in table.rows().enumerate() {
            let empty_state = count == 1 && row.length == 0;
            if row.length > block_size || (row.length == 0 && !empty_state) {
                return Err(Error::format(format!("block {index} is {} bytes long, which is not in 1 to {block_size}", row.length)));
            }
            if row.frame_length == 0 || row.frame_length > Codec::max_frame_length(row.length) {
                return Err(Error::format(format!("block {index} of {} bytes has a frame of {}", row.length, row.frame_length)));
            }
        }
        Ok(table)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len() / ROW
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        let word = |row: &[u8], at: usize| row.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes);
        self.0.chunks_exact(ROW).map(move |row| Row {
            frame_length: word(row, 0),
            length: word(row, 4),
            hash: row.get(8..).and_then(|hash| hash.try_into().ok()).unwrap_or_default(),
        })
    }

    /// The sum of all blocks' lengths: the state's size.
    pub(crate) fn state_size(&self) -> u64 {
        self.rows().map(|row| u64::from(row.length)).sum()
    }

    /// The blocks in order, with the slices of the object that hold them.
    pub(crate) fn blocks(&self, codec: Codec, trailer: &[u8]) -> impl Iterator<Item = BlockRef> {
        let last = self.len().saturating_sub(1);
        let mut offset = 0;
        self.rows().enumerate().map(move |(index, row)| {
            let block = BlockRef {
                key: None,
                etag: None,
                codec,
                offset,
                prefix: if index == 0 { codec.header().to_vec() } else { Vec::new() },
                frame_length: row.frame_length,
                suffix: if index == last { trailer.to_vec() } else { Vec::new() },
                length: row.length,
                hash: row.hash,
            };
            offset += block.slice_length() as u64;
            block
        })
    }

    /// The data section's length in bytes.
    pub(crate) fn data_length(&self, codec: Codec, trailer: &[u8]) -> u64 {
        let frames: u64 = self.rows().map(|row| u64::from(row.frame_length)).sum();
        frames + (codec.header().len() + trailer.len()) as u64
    }
}
