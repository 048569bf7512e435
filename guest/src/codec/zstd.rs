//! zstd: one frame per block. zrip has no unsafe code and writes the same bytes
//! natively and in wasm.
//!
//! All frames have the same form of header, which leaves nothing open: no dictionary,
//! the content size as the window, a checksum. So no two readers can understand a frame
//! differently. The content size always has eight bytes. This is valid, but no common
//! encoder writes a size this way if it fits in fewer bytes, so it identifies the
//! remains of a snapshot.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::error::{Error, ErrorCode, Result};
use crate::limits::MAX_BLOCK_SIZE;

/// By measurement (docs/performance.md): blocks twice as large make snapshots 3 %
/// smaller, but leave two workers half as many blocks to share.
pub(super) const BLOCK_SIZE: u32 = 1 << 20;

/// By the same measurement: the only level whose snapshots are smaller than those of
/// gzip's default level for every kind of state. At the next lower level they are 3 to
/// 6 % larger, at 1.2 to 1.3 times the speed.
pub(super) const DEFAULT_LEVEL: i32 = 4;

pub(super) const LEVELS: RangeInclusive<i32> = -7..=4;

/// Blocks of up to this many bytes are compressed without a context. Clearing the
/// context's tables, which have megabytes, would double the time for a state of 10 KB.
/// The bytes are the same either way.
const SMALL: usize = 128 << 10;

/// The magic number of a frame.
pub(crate) const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// The lowest of the 16 magic numbers of skippable frames (RFC 8878, 3.1.2).
pub(crate) const SKIPPABLE: u32 = 0x184D_2A50;

/// Whether a frame that begins with these bytes is skippable.
pub(crate) fn is_skippable(frame: &[u8]) -> bool {
    frame.first_chunk().is_some_and(|magic| u32::from_le_bytes(*magic) & !0xf == SKIPPABLE)
}

/// The byte after the magic number: the content size has eight bytes and is the window
/// size, there is a checksum and no dictionary (RFC 8878, 3.1.1.1.1).
const DESCRIPTOR: u8 = 0b1110_0100;

/// Bytes in a frame before its first block.
pub(crate) const HEADER: usize = 13;

/// Returns the frame header for a block of this length.
pub(crate) fn header(length: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let size = u64::from(length).to_le_bytes();
    for (to, from) in header.iter_mut().zip(MAGIC.into_iter().chain([DESCRIPTOR]).chain(size)) {
        *to = from;
    }
    header
}

/// Returns the block length of a frame that begins with these bytes; `None` if it is not
/// a frame of a snapshot.
pub(crate) fn block_length(frame: &[u8]) -> Option<u32> {
    let found = frame.first_chunk::<HEADER>()?;
    let length = found.last_chunk::<8>().map(|size| u64::from_le_bytes(*size))?;
    let length = u32::try_from(length).ok().filter(|length| *length <= MAX_BLOCK_SIZE)?;
    (*found == header(length)).then_some(length)
}

pub(super) struct Encoder {
    level: i32,
    /// Created for the first block that is not small.
    context: Option<zrip::CompressContext>,
}

fn failed(error: &zrip::CompressError) -> Error {
    Error::new(ErrorCode::Other, format!("zstd failed: {error}"))
}

impl Encoder {
    pub(super) fn new(level: i32) -> Result<Self> {
        if !LEVELS.contains(&level) {
            return Err(Error::argument(format!("zstd has no level {level}")));
        }
        Ok(Self { level, context: None })
    }

    pub(super) fn encode_to(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let frame = self.compress(plain)?;
        let found = zrip::frame::header::parse_frame_header(&frame);
        let blocks = found.ok().filter(|found| found.content_checksum && found.dict_id.is_none());
        let blocks = blocks.and_then(|found| frame.get(found.header_size..));
        let length = u32::try_from(plain.len()).ok();
        let (Some(blocks), Some(length)) = (blocks, length) else {
            return Err(Error::new(ErrorCode::Other, "zstd failed: it wrote an unexpected kind of frame"));
        };
        out.extend_from_slice(&header(length));
        out.extend_from_slice(blocks);
        Ok(())
    }

    fn compress(&mut self, plain: &[u8]) -> Result<Cow<'_, [u8]>> {
        if plain.len() <= SMALL && self.context.is_none() {
            return zrip::compress(plain, self.level).map(Cow::Owned).map_err(|error| failed(&error));
        }
        if self.context.is_none() {
            let mut context = zrip::CompressContext::new(self.level).map_err(|error| failed(&error))?;
            context.set_content_checksum(true);
            self.context = Some(context);
        }
        let context = self.context.as_mut().ok_or_else(|| Error::new(ErrorCode::Other, "zstd has no context"))?;
        context.compress(plain).map_err(|error| failed(&error))
    }
}

/// Returns where the frame's block whose header is at `at` ends, and whether it is the
/// last block. The end of the last block includes the frame's checksum. RFC 8878,
/// 3.1.1.2: one bit marks the last block, two are the type, 21 the size.
pub(crate) fn next_block(frame: &[u8], at: usize) -> Option<(usize, bool)> {
    const RLE: u32 = 1;
    const CHECKSUM: usize = 4;
    let &[low, middle, high] = frame.get(at..)?.first_chunk()?;
    let header = u32::from_le_bytes([low, middle, high, 0]);
    let size = if (header >> 1) & 3 == RLE { 1 } else { header >> 3 };
    let is_last = header & 1 == 1;
    let end = at.checked_add(3 + size as usize + if is_last { CHECKSUM } else { 0 })?;
    Some((end, is_last))
}

/// The largest block in a frame, compressed or not, in bytes. If the content is smaller,
/// its size is the limit (RFC 8878, 3.1.1.2.4).
const MAX_BLOCK: usize = 128 << 10;

/// Refuses what zrip accepts but some other decoders don't. Checks where the frame of a
/// block of `length` bytes ends, how long its zstd blocks are, and that nothing is
/// hidden in them.
fn check_frame(frame: &[u8], length: usize) -> std::result::Result<(), &'static str> {
    const CUT: &str = "a frame is cut short";
    let most = MAX_BLOCK.min(length);
    let mut at = HEADER;
    loop {
        let (end, is_last) = next_block(frame, at).ok_or(CUT)?;
        let &[low, middle, high] = frame.get(at..).and_then(<[u8]>::first_chunk).ok_or(CUT)?;
        let header = u32::from_le_bytes([low, middle, high, 0]);
        if (header >> 3) as usize > most {
            return Err("a block is larger than allowed");
        }
        match (header >> 1) & 3 {
            0 | 1 => {}
            2 => {
                let block = frame.get(at + 3..).and_then(|rest| rest.get(..(header >> 3) as usize)).ok_or(CUT)?;
                check_block(block)?;
            }
            _ => return Err("a block has the reserved type"),
        }
        if is_last {
            // The decoder would also accept more frames after this one.
            return if end == frame.len() { Ok(()) } else { Err("a frame does not end where the table says") };
        }
        at = end;
    }
}

/// Checks a compressed block (RFC 8878, 3.1.1.3): its literals are followed by its
/// sequences, or by nothing if it has none, and its Huffman tree is valid.
fn check_block(block: &[u8]) -> std::result::Result<(), &'static str> {
    let no_sequences = "a block does not end with its sequences";
    let byte = |at: usize| block.get(at).map(|byte| *byte as usize);
    let literals = Literals::parse(block).ok_or(no_sequences)?;
    if literals.has_tree && !block.get(literals.header..).is_some_and(is_tree) {
        return Err("a block's Huffman tree does not have at least two codes of the greatest length");
    }
    match byte(literals.end).ok_or(no_sequences)? {
        0 if block.len() == literals.end + 1 => Ok(()),
        // The number of sequences is 0 but has two bytes: readers disagree about this.
        128 if byte(literals.end + 1) != Some(0) => Ok(()),
        0 | 128 => Err(no_sequences),
        _ => Ok(()),
    }
}

/// The literals section at the beginning of a block (RFC 8878, 3.1.1.3.1).
struct Literals {
    /// The length of the section's header.
    header: usize,
    /// Whether a Huffman tree comes first.
    has_tree: bool,
    end: usize,
}

impl Literals {
    fn parse(block: &[u8]) -> Option<Self> {
        const RAW: usize = 0;
        const TREE: usize = 2;
        let byte = |at: usize| block.get(at).map(|byte| *byte as usize);
        let first = byte(0)?;
        let (kind, format) = (first & 3, (first >> 2) & 3);
        let (header, length) = if kind < TREE {
            let (header, size) = match format {
                0 | 2 => (1, first >> 3),
                1 => (2, first >> 4 | byte(1)? << 4),
                _ => (3, first >> 4 | byte(1)? << 4 | byte(2)? << 12),
            };
            (header, if kind == RAW { size } else { 1 })
        } else {
            // After the first four bits come two sizes of `bits` bits each.
            let (header, bits) = match format {
                0 | 1 => (3, 10),
                2 => (4, 14),
                _ => (5, 18),
            };
            let mut sizes = 0_u64;
            for at in (0..header).rev() {
                sizes = sizes << 8 | byte(at)? as u64;
            }
            (header, usize::try_from((sizes >> (4 + bits)) & ((1 << bits) - 1)).ok()?)
        };
        Some(Self { header, has_tree: kind == TREE, end: header + length })
    }
}

/// Whether the described Huffman tree has at least two symbols with the longest code, as
/// every valid tree has. zstd refuses any other, but zrip decodes with it.
fn is_tree(description: &[u8]) -> bool {
    let Ok((weights, _)) = zrip_core::huffman::weights::parse_huffman_weights(description) else { return false };
    // The last weight is not stored: it completes the sum to a power of two.
    let sum = weights.iter().filter(|weight| **weight > 0).map(|weight| 1_u64 << (weight - 1).min(32)).sum::<u64>();
    let last = (sum + 1).next_power_of_two() - sum;
    weights.iter().filter(|weight| **weight == 1).count() + usize::from(last == 1) >= 2
}

#[derive(Default)]
pub(super) struct Decoder(zrip::DecompressContext);

impl Decoder {
    /// Appends the block to `out`.
    pub(super) fn decode(&mut self, frame: &[u8], length: usize, out: &mut Vec<u8>) -> std::result::Result<(), String> {
        if block_length(frame).map(|length| length as usize) != Some(length) {
            return Err("a frame's header does not match the length of its block".to_owned());
        }
        check_frame(frame, length).map_err(str::to_owned)?;
        let written = self.0.decompress_into_with_limit(frame, out, length).map_err(|error| error.to_string())?;
        if written != length {
            return Err(format!("a block of {length} bytes decompresses to {written}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn small_blocks_are_the_same_with_and_without_a_context() {
        let text: Vec<u8> = (0_u32..40_000).flat_map(|number| format!("{{\"id\":{},\"n\":{number}}},", number % 97).into_bytes()).collect();
        let noise: Vec<u8> = (0_u64..200_000).map(|number| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        for level in LEVELS.filter(|level| *level != 0) {
            for state in [&text, &noise] {
                for size in [0, 1, 2, 63, 64, 255, 256, 1000, 10_000, 16_384, 65_536, 100_000, SMALL - 1, SMALL] {
                    let plain = &state[..size];
                    let (mut small, mut large) = (Encoder::new(level).unwrap(), Encoder::new(level).unwrap());
                    large.encode_to(&state[..SMALL + 1], &mut Vec::new()).unwrap();
                    assert!(large.context.is_some() && small.context.is_none());
                    let (mut one, mut other) = (Vec::new(), Vec::new());
                    small.encode_to(plain, &mut one).unwrap();
                    large.encode_to(plain, &mut other).unwrap();
                    assert!(one == other, "level {level}, {size} bytes");
                }
            }
        }
    }
}
