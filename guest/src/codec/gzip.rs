//! gzip: one member, in which each frame is a sequence of deflate blocks. A frame
//! starts with an empty window and ends with a sync flush, so it ends at a byte
//! boundary and has no final block. zlib-rs writes the same bytes natively and in wasm.

use std::ops::RangeInclusive;

use flate2::{Compress, Compression, FlushCompress};
use zlib_rs::{Inflate, InflateFlush, Status};

use crate::error::{Error, ErrorCode, Result};

/// 1.25 MiB, by measurement: smaller blocks compress worse because each starts with an
/// empty window; larger ones cost memory and time to the first byte but hardly compress
/// better.
pub(super) const BLOCK_SIZE: u32 = 5 << 18;

/// The default of zlib.
pub(super) const DEFAULT_LEVEL: i32 = 6;

pub(super) const LEVELS: RangeInclusive<i32> = 1..=9;

/// The magic number of a member.
pub(crate) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The header flag that says that an extra field follows.
pub(crate) const FEXTRA: u8 = 4;

/// Returns the header of a member with these flags: deflate, no time, no extra flags,
/// unknown operating system (RFC 1952, 2.3).
pub(crate) const fn header(flags: u8) -> [u8; 10] {
    let [first, second] = MAGIC;
    [first, second, 8, flags, 0, 0, 0, 0, 0, 0xff]
}

/// The header of the member that holds the state.
pub(super) const HEADER: [u8; 10] = header(0);

/// An empty final block with fixed Huffman codes. It ends a deflate stream.
pub(super) const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// Bytes in a trailer.
pub(crate) const TRAILER: usize = 10;

/// Returns the end of a member: final block, CRC-32, and size modulo 2^32.
#[allow(clippy::cast_possible_truncation, reason = "RFC 1952: ISIZE is the size modulo 2^32")]
pub(crate) fn trailer(crc32: u32, size: u64) -> Vec<u8> {
    let mut bytes = FINAL_BLOCK.to_vec();
    bytes.extend_from_slice(&crc32.to_le_bytes());
    bytes.extend_from_slice(&(size as u32).to_le_bytes());
    bytes
}

/// The most bytes in a stored block (RFC 1951, 3.2.4).
const STORED: usize = 65_535;

/// The empty stored block that a sync flush writes.
const SYNC_FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// Spare room after a block while it is inflated. It reveals a frame that holds more
/// than declared, and ensures that the inflater never stops because it is out of room.
const ROOM: usize = 1;

/// The length of a frame that consists of stored blocks.
fn stored_length(length: usize) -> usize {
    length + length.div_ceil(STORED) * SYNC_FLUSH.len() + SYNC_FLUSH.len()
}

/// Appends a frame of stored blocks. Each has a byte that says it is not final, its
/// length, the complement of the length, and its bytes.
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
        // At level 1, zlib-rs writes fixed codes, which make incompressible data up to
        // an eighth longer.
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
            // Enough for incompressible data. The flush is complete once there is room
            // left.
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

/// The end of a sync flush: the length of an empty stored block, and its complement.
const FLUSH_END: [u8; 4] = {
    let [_, end @ ..] = SYNC_FLUSH;
    end
};

pub(super) struct Decoder(Inflate);

/// The window size of deflate, in bits.
const WINDOW_BITS: u8 = 15;

impl Default for Decoder {
    fn default() -> Self {
        Self(Inflate::new(false, WINDOW_BITS))
    }
}

impl Decoder {
    /// Appends the block to `out`, which has room for more than `length`.
    ///
    /// The frame must end at a boundary of deflate blocks: no block is open, no bit is
    /// left over, and none of its blocks is final. Otherwise what follows the frame in
    /// the file would be read as its symbols, and other tools would get a different
    /// state.
    ///
    /// The checks below prove this. The last four bytes are fed together with two more,
    /// the final block, and with `InflateFlush::Block`. Then the inflater stops for only
    /// three reasons: all input is used, all room is used, or a block has just ended
    /// (zlib's manual, `Z_BLOCK`). If it stops with exactly the final block unused and
    /// with room left, a block has ended in the frame's last byte. That byte is 0xff, so
    /// any bits left in it are ones. Followed by the bits of the final block (1, 1, 0)
    /// they would be the header of a block of type 3, which does not exist. So if the
    /// final block then ends the stream, no bit was left.
    pub(super) fn decode(&mut self, frame: &[u8], length: usize, out: &mut Vec<u8>) -> std::result::Result<(), String> {
        const NO_BOUNDARY: &str = "a frame does not end at a block boundary";
        self.0.reset(false);
        let (body, end) = frame.split_last_chunk().filter(|(_, end)| **end == FLUSH_END).ok_or(NO_BOUNDARY)?;
        let start = out.len();
        // The room is zeroed, so that nothing uninitialised is ever read.
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
        format!("a block of {length} bytes decompresses to {} or more", self.0.total_out())
    }

    /// Inflates all of the input. The stream may end only with its last byte.
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
                _ if before == after => return Err("the stream makes no progress".to_owned()),
                _ => {}
            }
        }
    }

    /// Inflates some of the input. Fails if there are more than `length` bytes in all.
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
