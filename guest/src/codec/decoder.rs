//! Checks frames and decompresses them to blocks.

use sha2::{Digest, Sha256};

use crate::codec::{BlockRef, Codec, gzip, zstd};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::MAX_BLOCK_SIZE;

/// Spare room after a block while it is decoded. It reveals a frame that holds more
/// than declared, and zrip copies in steps that may reach 32 bytes past the end.
const SLACK: usize = 64;

/// Checks and decompresses blocks.
#[derive(Default)]
pub struct Decoder {
    gzip: Option<gzip::Decoder>,
    zstd: Option<Box<zstd::Decoder>>,
}

impl Decoder {
    /// Decodes a block into `out`, replacing its content. Decompresses the frame only if
    /// its hash matches, and never past the block's length.
    pub fn decode(&mut self, block: &BlockRef, slice: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.decode_with(block, slice, |frame| Sha256::digest(frame).into(), out)
    }

    /// Decodes a block as [`decode`](Self::decode) does, with the hash of the frame that
    /// the caller has computed.
    pub fn decode_hashed(&mut self, block: &BlockRef, slice: &[u8], hash: [u8; 32], out: &mut Vec<u8>) -> Result<()> {
        self.decode_with(block, slice, |_| hash, out)
    }

    fn decode_with(&mut self, block: &BlockRef, slice: &[u8], hash: impl FnOnce(&[u8]) -> [u8; 32], out: &mut Vec<u8>) -> Result<()> {
        let end = block.offset.saturating_add(block.slice_length() as u64);
        let wrong = |what: &str| Error::integrity(format!("{what} (bytes {} to {end})", block.offset));
        if slice.len() < block.slice_length() {
            return Err(Error::short_read(slice.len() as u64, block.slice_length() as u64));
        }
        if slice.len() > block.slice_length() {
            return Err(Error::argument(format!("the slice of a block has {} bytes, not {}", block.slice_length(), slice.len())));
        }
        let (prefix, rest) = slice.split_at(block.prefix.len());
        let (frame, suffix) = rest.split_at(block.frame_length as usize);
        if prefix != block.prefix {
            return Err(wrong("the header before the first frame was changed"));
        }
        if suffix != block.suffix {
            return Err(wrong("the checksum after the last frame was changed"));
        }
        let found = hash(frame);
        if found != block.hash {
            return Err(wrong("a frame was changed")
                .with("expected", crate::hash::hex(&block.hash))
                .with("found", crate::hash::hex(&found)));
        }
        if block.length > MAX_BLOCK_SIZE || block.frame_length > Codec::max_frame_length(block.length) {
            return Err(Error::format(format!("a block is declared to be larger than {MAX_BLOCK_SIZE} bytes")));
        }
        let length = block.length as usize;
        out.clear();
        out.try_reserve_exact(length + SLACK)
            .map_err(|_| Error::new(ErrorCode::LimitExceeded, format!("no memory for a block of {length} bytes")))?;
        let decoded = match block.codec {
            Codec::Gzip => self.gzip.get_or_insert_default().decode(frame, length, out),
            Codec::Zstd => self.zstd.get_or_insert_default().decode(frame, length, out),
        };
        decoded.map_err(|what| {
            // A broken frame must not affect the next one.
            (self.gzip, self.zstd) = (None, None);
            Error::format(format!("a frame breaks the rules of {}: {what} (bytes {} to {end})", block.codec.name(), block.offset))
        })
    }
}
