//! Reads an object from its front, without a table.

use crate::error::Result;
use crate::storage::Reader;

/// The most bytes to read from the storage, or to decompress, at a time.
pub(super) const CHUNK: usize = 1 << 16;

/// More zeros in a row than any frame has: 8 MiB of a single byte compress to 8 KiB of
/// zeros. A sparse file may have terabytes.
const MAX_ZEROS: usize = 16 << 10;

/// What is wrong where the content ends too soon.
pub(super) const ENDS_EARLY: &str = "the file ends before the state does";

/// An object from its front to the end of its content, with lookahead.
pub(super) struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The offset in the object where the buffer begins.
    pub(super) position: u64,
    /// Where the content ends, and where the object does after some zeros.
    end: u64,
    size: u64,
    ended: bool,
}

impl<R: Reader> Input<R> {
    pub(super) fn new(reader: R, end: u64, size: u64) -> Self {
        Self { reader, buffer: Vec::new(), position: 0, end, size, ended: false }
    }

    /// Returns the next `length` bytes, or fewer at the end of the content, without
    /// taking them.
    pub(super) fn peek(&mut self, length: usize) -> Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let length = length.min(left);
        // Zeros count as content only if something else follows them.
        while (self.buffer.len() < length || self.buffer.ends_with(&[0; 64])) && !self.ended {
            let chunk = self.reader.read(u32::try_from(CHUNK).unwrap_or(u32::MAX))?;
            self.ended = chunk.is_empty();
            self.buffer.extend_from_slice(&chunk);
            let kept = self.buffer.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if self.buffer.len() - kept >= MAX_ZEROS {
                self.buffer.truncate(kept);
                self.end = self.position + kept as u64;
                self.ended = true;
            }
        }
        Ok(self.buffer.get(..length).unwrap_or(&self.buffer))
    }

    /// Returns the buffered content, which has at least one byte except at its end.
    pub(super) fn peek_some(&mut self) -> Result<&[u8]> {
        self.peek(1)?;
        self.peek(self.buffer.len())
    }

    /// Counts the zeros at the end as content.
    pub(super) fn include_zeros(&mut self) {
        self.end = self.size;
    }

    pub(super) fn skip(&mut self, length: usize) {
        let length = length.min(self.buffer.len());
        self.buffer.drain(..length);
        self.position += length as u64;
    }
}
