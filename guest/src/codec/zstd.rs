//! zstd: one frame a block, with content size and checksum, without dictionary.
//! zrip has no unsafe code and gives the same bytes natively and in wasm.

use std::ops::RangeInclusive;

use crate::error::{Error, ErrorCode, Result};

/// By measurement on 32 MiB of chat state at level 4: 1 MiB gives a ratio of
/// 3.40, 2 MiB 3.47, 4 MiB 3.51, 8 MiB 3.54, while the encoder's memory grows
/// from 6.7 MiB at 2 MiB to 10.4 MiB at 4 MiB.
pub(super) const BLOCK_SIZE: u32 = 2 << 20;

/// By the same measurement: 6 % smaller than level 3 at 88 % of its speed.
/// zrip's level 3 searches densely only in inputs of up to 256 KiB.
pub(super) const DEFAULT_LEVEL: i32 = 4;

pub(super) const LEVELS: RangeInclusive<i32> = -7..=4;

pub(super) struct Encoder(zrip::CompressContext);

fn failed(error: &zrip::CompressError) -> Error {
    Error::new(ErrorCode::Other, format!("zstd failed: {error}"))
}

impl Encoder {
    pub(super) fn new(level: i32) -> Result<Self> {
        let mut context = zrip::CompressContext::new(level).map_err(|error| failed(&error))?;
        context.set_content_checksum(true);
        Ok(Self(context))
    }

    pub(super) fn encode_to(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let frame = self.0.compress(plain).map_err(|error| failed(&error))?;
        out.extend_from_slice(&frame);
        Ok(())
    }
}

/// Where the block of a frame ends whose header is at `at`, and whether it is
/// the last; the frame's checksum then counts as its end (RFC 8878, 3.1.1.2: a
/// bit that marks the last block, two of the type, 21 of the size).
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

/// Where a frame with a checksum ends.
fn frame_length(frame: &[u8], header: usize) -> Option<usize> {
    let mut at = header;
    loop {
        match next_block(frame, at)? {
            (next, false) => at = next,
            (end, true) => return Some(end),
        }
    }
}

#[derive(Default)]
pub(super) struct Decoder(zrip::DecompressContext);

impl Decoder {
    /// Appends the block to `out`.
    pub(super) fn decode(&mut self, frame: &[u8], length: usize, out: &mut Vec<u8>) -> std::result::Result<(), String> {
        let header = zrip::frame::header::parse_frame_header(frame).map_err(|error| error.to_string())?;
        if header.frame_content_size != Some(length as u64) || !header.content_checksum || header.dict_id.is_some() {
            return Err("a frame's header has no checksum, or another size than the table".to_owned());
        }
        // The decoder would also take further frames behind this one.
        if frame_length(frame, header.header_size) != Some(frame.len()) {
            return Err("a frame does not end where the table says".to_owned());
        }
        let written = self.0.decompress_into_with_limit(frame, out, length).map_err(|error| error.to_string())?;
        if written != length {
            return Err(format!("a block of {length} bytes has {written}"));
        }
        Ok(())
    }
}
