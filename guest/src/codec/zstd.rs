//! zstd: one frame a block, with content size and checksum, without dictionary.
//! zrip has no unsafe code and gives the same bytes natively and in wasm.

use std::ops::RangeInclusive;

use crate::error::{Error, ErrorCode, Result};

/// By measurement; see docs/format.md.
pub(super) const BLOCK_SIZE: u32 = 4 << 20;

/// zstd's own default.
pub(super) const DEFAULT_LEVEL: i32 = 3;

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

#[derive(Default)]
pub(super) struct Decoder(zrip::DecompressContext);

impl Decoder {
    /// Appends the block to `out`.
    pub(super) fn decode(&mut self, frame: &[u8], length: usize, out: &mut Vec<u8>) -> std::result::Result<(), String> {
        let header = zrip::frame::header::parse_frame_header(frame).map_err(|error| error.to_string())?;
        if header.frame_content_size != Some(length as u64) || !header.content_checksum || header.dict_id.is_some() {
            return Err("a frame's header has no checksum, or another size than the table".to_owned());
        }
        let written = self.0.decompress_into_with_limit(frame, out, length).map_err(|error| error.to_string())?;
        if written != length {
            return Err(format!("a block of {length} bytes has {written}"));
        }
        Ok(())
    }
}
