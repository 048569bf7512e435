//! gzip: one member whose frames are runs of deflate blocks, each run from an
//! empty window and ended by a sync flush, so that it ends on a byte and has no
//! final block. zlib-rs gives the same bytes natively and in wasm.

use std::ops::RangeInclusive;

use flate2::{Compress, Compression, FlushCompress};
use zlib_rs::{Inflate, InflateFlush, Status};

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

/// Room behind a block while it is inflated: it shows a frame that holds more
/// than declared, and that the inflater never stops for want of room.
const ROOM: usize = 1;

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

/// What a sync flush ends with: the length of an empty stored block, and its
/// complement.
const FLUSH_END: [u8; 4] = [0, 0, 0xff, 0xff];

pub(super) struct Decoder(Inflate);

/// The window of deflate, in bits.
const WINDOW_BITS: u8 = 15;

impl Default for Decoder {
    fn default() -> Self {
        Self(Inflate::new(false, WINDOW_BITS))
    }
}

impl Decoder {
    /// Appends the block to `out`, which has room for more than `length`.
    ///
    /// The frame has to end at a boundary of deflate's blocks: no block open, no
    /// bit unused, none of them final. Else what follows it in the file would be
    /// read as its symbols, and other tools would get another state than this.
    ///
    /// That it does is a proof, not a likelihood. The last four bytes are fed
    /// with two more, the final block, and with `InflateFlush::Block`. The
    /// inflater then stops for three reasons only: all input is used, all room
    /// is used, or a block has just ended (zlib's manual, `Z_BLOCK`). Having
    /// stopped with exactly the final block unused and with room left, it is
    /// where a block ends, in the frame's last byte. That byte is 0xff, so that
    /// bits of it that are left are ones; before the final block's own (1, 1, 0)
    /// they make a header of the type 3, which there is not. As the final block
    /// then is the end of the stream and nothing but that, no bit was left.
    pub(super) fn decode(&mut self, frame: &[u8], length: usize, out: &mut Vec<u8>) -> std::result::Result<(), String> {
        const NO_BOUNDARY: &str = "a frame does not end with a block";
        self.0.reset(false);
        let (body, end) = frame.split_last_chunk().filter(|(_, end)| **end == FLUSH_END).ok_or(NO_BOUNDARY)?;
        let start = out.len();
        // Room is given out as zeros: nothing is read that was not written.
        out.resize(start + length + ROOM, 0);
        let room = out.get_mut(start..).unwrap_or_default();
        if self.feed(body, room, InflateFlush::NoFlush, length)? == Status::StreamEnd {
            return Err("the stream ends inside a frame".to_owned());
        }
        let [a, b, c, d] = *end;
        let [e, f] = FINAL_BLOCK;
        let tail = [a, b, c, d, e, f];
        while self.0.total_in() < frame.len() as u64 {
            let used = usize::try_from(self.0.total_in()).unwrap_or(usize::MAX) - body.len();
            let before = (self.0.total_in(), self.0.total_out());
            let status = self.step(tail.get(used..).unwrap_or_default(), room, InflateFlush::Block, length)?;
            if status == Status::StreamEnd || before == (self.0.total_in(), self.0.total_out()) {
                return Err(NO_BOUNDARY.to_owned());
            }
        }
        if self.0.total_in() != frame.len() as u64 || self.0.total_out() != length as u64 {
            return Err(if self.0.total_out() == length as u64 { NO_BOUNDARY.to_owned() } else { self.wrong_length(length) });
        }
        if self.feed(&FINAL_BLOCK, room, InflateFlush::NoFlush, length)? != Status::StreamEnd {
            return Err(NO_BOUNDARY.to_owned());
        }
        if self.0.total_out() != length as u64 {
            return Err(self.wrong_length(length));
        }
        out.truncate(start + length);
        Ok(())
    }

    fn wrong_length(&self, length: usize) -> String {
        format!("a block of {length} bytes has {} or more", self.0.total_out())
    }

    /// Inflates all of the input, unless the stream ends with its last byte.
    fn feed(&mut self, input: &[u8], room: &mut [u8], flush: InflateFlush, length: usize) -> std::result::Result<Status, String> {
        let start = self.0.total_in();
        loop {
            let before = (self.0.total_in(), self.0.total_out());
            let used = usize::try_from(before.0 - start).unwrap_or(usize::MAX);
            let status = self.step(input.get(used..).unwrap_or_default(), room, flush, length)?;
            let after = (self.0.total_in(), self.0.total_out());
            let all = after.0 - start == input.len() as u64;
            match status {
                Status::StreamEnd if all => return Ok(status),
                Status::StreamEnd => return Err("bytes follow the end of the stream".to_owned()),
                _ if all => return Ok(status),
                _ if before == after => return Err("the stream stops".to_owned()),
                _ => {}
            }
        }
    }

    /// Inflates some of the input, to more than `length` bytes in all never.
    fn step(&mut self, input: &[u8], room: &mut [u8], flush: InflateFlush, length: usize) -> std::result::Result<Status, String> {
        let written = usize::try_from(self.0.total_out()).unwrap_or(usize::MAX);
        let status =
            self.0.decompress(input, room.get_mut(written..).unwrap_or_default(), flush).map_err(|error| error.as_str().to_owned())?;
        if self.0.total_out() > length as u64 {
            return Err("a block is longer than declared".to_owned());
        }
        Ok(status)
    }
}
