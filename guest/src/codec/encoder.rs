//! Compresses blocks to frames.

use sha2::{Digest, Sha256};

use crate::codec::{Codec, EncodedBlock, crc32, gzip, zstd};
use crate::error::{Error, Result};
use crate::limits::MAX_BLOCK_SIZE;

/// Compresses blocks at one level. A frame depends only on block, codec and level, not
/// on earlier blocks.
pub struct Encoder(EncoderKind);

enum EncoderKind {
    Gzip(gzip::Encoder),
    Zstd(Box<zstd::Encoder>),
}

impl Encoder {
    /// Creates an encoder, and checks the level.
    pub fn new(codec: Codec, level: i32) -> Result<Self> {
        let level = codec.level(Some(level))?;
        Ok(Self(match codec {
            Codec::Gzip => EncoderKind::Gzip(gzip::Encoder::new(level)),
            Codec::Zstd => EncoderKind::Zstd(Box::new(zstd::Encoder::new(level)?)),
        }))
    }

    /// Appends the frame of `plain` to `out`.
    pub fn encode_to(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match &mut self.0 {
            EncoderKind::Gzip(encoder) => encoder.encode_to(plain, out),
            EncoderKind::Zstd(encoder) => encoder.encode_to(plain, out),
        }
    }

    fn codec(&self) -> Codec {
        match self.0 {
            EncoderKind::Gzip(_) => Codec::Gzip,
            EncoderKind::Zstd(_) => Codec::Zstd,
        }
    }

    /// Compresses one block of at most [`MAX_BLOCK_SIZE`] bytes.
    pub fn encode(&mut self, plain: &[u8]) -> Result<EncodedBlock> {
        let (frame, length) = self.encode_frame(plain)?;
        Ok(EncodedBlock {
            length,
            crc32: if self.codec().needs_crc32() { crc32(0, plain) } else { 0 },
            hash: Sha256::digest(&frame).into(),
            frame,
        })
    }

    /// Returns the frame of one block of at most [`MAX_BLOCK_SIZE`] bytes, and the
    /// block's length.
    pub fn encode_frame(&mut self, plain: &[u8]) -> Result<(Vec<u8>, u32)> {
        let length = u32::try_from(plain.len())
            .ok()
            .filter(|length| *length <= MAX_BLOCK_SIZE)
            .ok_or_else(|| Error::argument(format!("a block has at most {MAX_BLOCK_SIZE} bytes, not {}", plain.len())))?;
        let mut frame = Vec::new();
        self.encode_to(plain, &mut frame)?;
        Ok((frame, length))
    }
}
