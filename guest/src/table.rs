//! The block table: one row per block, in the order of the state.

use crate::codec::{BlockRef, Codec};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::MAX_BLOCKS;

/// Bytes in a row: frame length, block length, SHA-256 of the frame.
pub(crate) const ROW: usize = 40;

/// The largest table, in bytes.
pub(crate) const MAX_TABLE: usize = MAX_BLOCKS as usize * ROW;

/// The rows, as stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Vec<u8>);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) frame_length: u32,
    pub(crate) length: u32,
    pub(crate) hash: [u8; 32],
}

impl Table {
    /// Appends the row of a block.
    pub(crate) fn push(&mut self, frame_length: usize, length: u32, hash: &[u8; 32]) -> Result<()> {
        if self.len() >= MAX_BLOCKS as usize {
            return Err(Error::new(
                ErrorCode::LimitExceeded,
                format!("the state is too large: a snapshot has at most {MAX_BLOCKS} blocks"),
            ));
        }
        let frame_length =
            u32::try_from(frame_length).map_err(|_| Error::argument(format!("a frame of {frame_length} bytes is too long")))?;
        // Readers would refuse the file.
        if frame_length == 0 || frame_length > Codec::max_frame_length(length) {
            return Err(Error::argument(format!("a block of {length} bytes can't have a frame of {frame_length} bytes")));
        }
        self.0.extend_from_slice(&frame_length.to_le_bytes());
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(hash);
        Ok(())
    }

    /// Reads rows. The digest covers these bytes, so any mistake in them was already
    /// there when they were written.
    pub(crate) fn parse(bytes: Vec<u8>, block_size: u32) -> Result<Self> {
        let table = Self(bytes);
        let count = table.len();
        if count == 0 || !table.0.len().is_multiple_of(ROW) {
            return Err(Error::format(format!("a block table of {} bytes is not a whole number of rows", table.0.len())));
        }
        for (index, row) in table.rows().enumerate() {
            let empty_state = count == 1 && row.length == 0;
            if row.length > block_size || (row.length == 0 && !empty_state) {
                return Err(Error::format(format!("block {index} has {} bytes, which is not between 1 and {block_size}", row.length)));
            }
            if row.frame_length == 0 || row.frame_length > Codec::max_frame_length(row.length) {
                return Err(Error::format(format!("block {index} has {} bytes, but a frame of {} bytes", row.length, row.frame_length)));
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

    /// The size of the state: the sum of all block lengths.
    pub(crate) fn state_size(&self) -> u64 {
        self.rows().map(|row| u64::from(row.length)).sum()
    }

    /// Returns the blocks in order, with the slices of the object that hold them.
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

    /// The length of the data section in bytes.
    pub(crate) fn data_length(&self, codec: Codec, trailer: &[u8]) -> u64 {
        let frames: u64 = self.rows().map(|row| u64::from(row.frame_length)).sum();
        frames + (codec.header().len() + trailer.len()) as u64
    }
}
