//! gzip: one member whose frames are runs of deflate blocks, each run from an
//! empty window and ended by a sync flush, so that it ends on a byte and has no
//! final block. zlib-rs gives the same bytes natively and in wasm.

use std::ops::RangeInclusive;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::error::{Error, ErrorCode, Result};

/// 1.25 MiB, by measurement: below it the ratio suffers from empty windows, above
/// it memory and the time to the first byte grow and the ratio hardly does.
pub(super) const BLOCK_SIZE: u32 = 5 << 18;

/// zlib's own default.
pub(super) const DEFAULT_LEVEL: i32 = 6;

pub(super) const LEVELS: RangeInclusive<i32> = 1..=9;

/// Deflate, no flags, no time, no extra flags, no operating system.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// An empty final block of fixed Huffman codes: the end of a deflate stream.
pub(super) const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// The end of the member: final block, CRC-32, and size modulo 2^32.
#[allow(clippy::cast_possible_truncation, reason = "RFC 1952: ISIZE is the size modulo 2^32")]
pub(super) fn trailer(crc32: u32, size: u64) -> Vec<u8> {
    let mut bytes = FINAL_BLOCK.to_vec();
    bytes.extend_from_slice(&crc32.to_le_bytes());
    bytes.extend_from_slice(&(size as u32).to_le_bytes());
    bytes
}

/// The most bytes in a stored block (RFC 1951, 3.2.4).
const STORED: usize = 65_535;

/// The empty stored block that a sync flush writes.
const SYNC_FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// The length of a frame of stored blocks.
fn stored_length(length: usize) -> usize {
    length + length.div_ceil(STORED) * SYNC_FLUSH.len() + SYNC_FLUSH.len()
}

/// Appends the frame of stored blocks: not final, length, its complement, bytes.
fn store_to(plain: &[u8], out: &mut Vec<u8>) {
    for block in plain.chunks(STORED) {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&SYNC_FLUSH);
}

pub(super) struct Encoder(Compress);

impl Encoder {
    pub(super) fn new(level: i32) -> Self {
        Self(Compress::new(Compression::new(level.unsigned_abs()), false))
    }

    pub(super) fn encode_to(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        self.deflate_to(plain, out)?;
        // zlib-rs's level 1 writes fixed codes, which make bytes that do not
        // compress up to an eighth longer.
        if out.len() - start > stored_length(plain.len()) {
            out.truncate(start);
            store_to(plain, out);
        }
        Ok(())
    }

    fn deflate_to(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.0.reset();
        loop {
            let consumed = usize::try_from(self.0.total_in()).unwrap_or(usize::MAX);
            let rest = plain.get(consumed..).unwrap_or_default();
            // Enough for what does not compress; the flush is complete once
            // room is left over.
            out.reserve(rest.len() + rest.len() / 512 + 64);
            self.0
                .compress_vec(rest, out, FlushCompress::Sync)
                .map_err(|error| Error::new(ErrorCode::Other, format!("deflate failed: {error}")))?;
            if self.0.total_in() == plain.len() as u64 && out.len() < out.capacity() {
                return Ok(());
            }
        }
    }
}

pub(super) struct Decoder(Decompress);

impl Default for Decoder {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Decoder {
    /// Appends the block to `out`, which has room for more than `length`.
    pub(super) fn decode(&mut self, frame: &[u8], length: usize, out: &mut Vec<u8>) -> std::result::Result<(), String> {
        self.0.reset(false);
        if self.feed(frame, out)? == Status::StreamEnd {
            return Err("the stream ends inside a frame".to_owned());
        }
        // Only behind a whole block, on a byte, does this end the stream. So
        // the frame can't swallow the beginning of the next one.
        if self.feed(&FINAL_BLOCK, out)? != Status::StreamEnd {
            return Err("a frame does not end with a block".to_owned());
        }
        if out.len() != length {
            return Err(format!("a block of {length} bytes has {} or more", out.len()));
        }
        Ok(())
    }

    fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> std::result::Result<Status, String> {
        let start = self.0.total_in();
        loop {
            let before = (self.0.total_in(), out.len());
            let consumed = usize::try_from(before.0 - start).unwrap_or(usize::MAX);
            let rest = input.get(consumed..).unwrap_or_default();
            let status = self.0.decompress_vec(rest, out, FlushDecompress::None).map_err(|error| error.to_string())?;
            let after = (self.0.total_in(), out.len());
            let all = after.0 - start == input.len() as u64;
            match status {
                Status::StreamEnd if all => return Ok(status),
                Status::StreamEnd => return Err("bytes follow the end of the stream".to_owned()),
                _ if out.len() == out.capacity() => return Err("a block is longer than declared".to_owned()),
                _ if all && before == after => return Ok(status),
                _ if before == after => return Err("the stream stops".to_owned()),
                _ => {}
            }
        }
    }
}
