//! Salvages a gzip stream from its front up to the break.

use flate2::{Decompress, FlushDecompress, Status};

use super::input::{CHUNK, ENDS_EARLY, Input};
use super::report::Break;
use super::source::{Next, Proof};
use crate::codec::{self, Codec};
use crate::error::{Error, Result};
use crate::storage::Reader;

pub(super) struct GzipSource<R> {
    input: Input<R>,
    inflate: Decompress,
    crc32: u32,
    size: u64,
}

impl<R: Reader> GzipSource<R> {
    /// Creates a source from an object that begins with the header.
    pub(super) fn new(mut input: Input<R>) -> Self {
        input.skip(Codec::Gzip.header().len());
        Self { input, inflate: Decompress::new(false), crc32: 0, size: 0 }
    }

    pub(super) fn next(&mut self, block: &mut Vec<u8>) -> Result<Next> {
        block.reserve(CHUNK);
        loop {
            let rest = self.input.peek_some()?;
            if rest.is_empty() {
                return Ok(Next::Break(self.broken(ENDS_EARLY)));
            }
            let before = self.inflate.total_in();
            let status = self.inflate.decompress_vec(rest, block, FlushDecompress::None);
            self.input.skip(usize::try_from(self.inflate.total_in() - before).unwrap_or(usize::MAX));
            match status {
                Ok(_) if !block.is_empty() => {
                    self.crc32 = codec::crc32(self.crc32, block);
                    self.size += block.len() as u64;
                    return Ok(Next::Bytes);
                }
                Ok(Status::StreamEnd) => return self.end(),
                Ok(_) if self.inflate.total_in() == before => return Ok(Next::Break(self.broken("the compressed data ends early"))),
                Ok(_) => {}
                Err(error) => return Ok(Next::Break(self.broken(&format!("the compressed data is damaged: {error}")))),
            }
        }
    }

    /// After the final block come the CRC-32 and size of the state.
    #[allow(clippy::cast_possible_truncation, reason = "RFC 1952: ISIZE is the size modulo 2^32")]
    fn end(&mut self) -> Result<Next> {
        let expected = [self.crc32.to_le_bytes(), (self.size as u32).to_le_bytes()].concat();
        self.input.include_zeros();
        let offset = self.input.position;
        Ok(if self.input.peek(8)? == expected {
            Next::End { offset, proof: Proof::Checksum }
        } else {
            Next::Break(self.broken("the CRC-32 or the size of the state is wrong"))
        })
    }

    fn broken(&self, what: &str) -> Break {
        Break { offset: self.input.position, reason: Error::integrity(what) }
    }
}
