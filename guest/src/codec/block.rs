//! A compressed block, and the description of a block in an object.

use sha2::{Digest, Sha256};

use crate::codec::Codec;
use crate::error::{Error, Result};

/// A compressed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedBlock {
    /// The compressed bytes.
    pub frame: Vec<u8>,
    /// The block's length before compression, in bytes.
    pub length: u32,
    /// CRC-32 of the block if the codec needs it, otherwise 0.
    pub crc32: u32,
    /// SHA-256 of the frame.
    pub hash: [u8; 32],
}

impl EncodedBlock {
    /// Checks that a block from the host has at most `block_size` bytes and a frame of a
    /// possible length.
    pub(crate) fn check_lengths(&self, block_size: u32) -> Result<()> {
        let most = Codec::max_frame_length(self.length) as usize;
        if self.length == 0 || self.length > block_size || self.frame.is_empty() || self.frame.len() > most {
            return Err(Error::argument(format!(
                "a block of {} bytes with a frame of {} bytes was not encoded for blocks of at most {block_size} bytes",
                self.length,
                self.frame.len()
            )));
        }
        Ok(())
    }

    /// Checks that the frame has the given hash.
    pub(crate) fn check_hash(&self) -> Result<()> {
        let found: [u8; 32] = Sha256::digest(&self.frame).into();
        if found != self.hash {
            return Err(Error::integrity("a frame has been changed since it was encoded")
                .with("expected", crate::hash::hex(&self.hash))
                .with("found", crate::hash::hex(&found)));
        }
        Ok(())
    }
}

/// Where a block is in a stored snapshot, and what it must contain. Its slice of the
/// object consists of prefix, frame and suffix. The slices of all blocks make up the
/// data section, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// The object that holds the slice; the snapshot itself if `None`.
    pub key: Option<String>,
    /// The etag that the object must have; any if `None`.
    pub etag: Option<String>,
    /// The codec.
    pub codec: Codec,
    /// Where the slice begins in the object.
    pub offset: u64,
    /// The bytes before the frame.
    pub prefix: Vec<u8>,
    /// The frame's length in bytes.
    pub frame_length: u32,
    /// The bytes after the frame.
    pub suffix: Vec<u8>,
    /// The length of the decoded block in bytes.
    pub length: u32,
    /// SHA-256 of the frame.
    pub hash: [u8; 32],
}

impl BlockRef {
    /// The length of the slice in bytes.
    pub fn slice_length(&self) -> usize {
        // The lengths come from the host, which may pass anything.
        self.prefix.len().saturating_add(self.frame_length as usize).saturating_add(self.suffix.len())
    }
}
