//! Blocks to frames and back. A frame stands alone: it is compressed from an
//! empty window, so that blocks can be worked on in any order, anywhere.

pub(crate) mod gzip;
pub(crate) mod zstd;

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorCode, Result};

/// No block is larger, whoever wrote it; a reader's memory is bounded by this.
pub const MAX_BLOCK_SIZE: u32 = 8 << 20;

/// Room behind a block while it is decoded: it shows a frame that holds more
/// than declared, and zrip copies in steps that reach up to 32 bytes beyond.
const SLACK: usize = 64;

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1952: all frames are in one member.
    Gzip,
    /// RFC 8878: one frame a block, all with the same form of header.
    Zstd,
}

impl Codec {
    /// The codec that a key's ending asks for: `.zst` and `.zstd` are zstd, in any
    /// case; all else is gzip.
    pub fn for_key(key: &str) -> Self {
        Self::named_by(key).unwrap_or(Self::Gzip)
    }

    /// The codec that a key's ending names, in any case; none for other endings.
    pub fn named_by(key: &str) -> Option<Self> {
        const ENDINGS: [(&str, Codec); 3] = [("gz", Codec::Gzip), ("zst", Codec::Zstd), ("zstd", Codec::Zstd)];
        let (_, ending) = key.rsplit_once('.')?;
        ENDINGS.into_iter().find_map(|(name, codec)| ending.eq_ignore_ascii_case(name).then_some(codec))
    }

    /// The name in metadata: `gzip` or `zstd`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Gzip, Self::Zstd].into_iter().find(|codec| codec.name() == name)
    }

    /// The media type of a whole snapshot.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/gzip",
            Self::Zstd => "application/zstd",
        }
    }

    /// Bytes of state in every block but the last, where the state is cut here.
    pub fn block_size(self) -> u32 {
        match self {
            Self::Gzip => gzip::BLOCK_SIZE,
            Self::Zstd => zstd::BLOCK_SIZE,
        }
    }

    /// The level used when none is asked for.
    pub fn default_level(self) -> i32 {
        match self {
            Self::Gzip => gzip::DEFAULT_LEVEL,
            Self::Zstd => zstd::DEFAULT_LEVEL,
        }
    }

    /// The levels there are. zstd's 0, elsewhere "the default", is not one.
    pub fn levels(self) -> RangeInclusive<i32> {
        match self {
            Self::Gzip => gzip::LEVELS,
            Self::Zstd => zstd::LEVELS,
        }
    }

    /// The level to use, checked.
    pub fn level(self, asked: Option<i32>) -> Result<i32> {
        let Some(level) = asked else { return Ok(self.default_level()) };
        let levels = self.levels();
        if !levels.contains(&level) || level == 0 {
            return Err(Error::argument(format!(
                "{} has no level {level}; it has {} to {}{}",
                self.name(),
                levels.start(),
                levels.end(),
                if levels.contains(&0) { " without 0" } else { "" },
            )));
        }
        Ok(level)
    }

    /// The bytes before the first frame.
    pub fn header(self) -> &'static [u8] {
        match self {
            Self::Gzip => &gzip::HEADER,
            Self::Zstd => &[],
        }
    }

    /// The bytes behind the last frame, for a state of this CRC-32 and size.
    pub fn trailer(self, crc32: u32, size: u64) -> Vec<u8> {
        match self {
            Self::Gzip => gzip::trailer(crc32, size),
            Self::Zstd => Vec::new(),
        }
    }

    /// Whether the codec needs the CRC-32 of the state, for its trailer.
    pub fn needs_crc32(self) -> bool {
        self == Self::Gzip
    }

    /// The longest frame that a block of this length may have: more than both
    /// codecs ever need for bytes that do not compress, little more than them.
    pub fn max_frame_length(length: u32) -> u32 {
        length.saturating_add(length / 64).saturating_add(1024)
    }
}

/// The CRC-32 of `bytes`, continued from that of what comes before them.
pub fn crc32(before: u32, bytes: &[u8]) -> u32 {
    zlib_rs::crc32::crc32(before, bytes)
}

/// The CRC-32 of two runs of bytes, the second of this length.
pub fn crc32_combine(first: u32, second: u32, second_length: u64) -> u32 {
    zlib_rs::crc32::crc32_combine(first, second, second_length)
}

/// A compressed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedBlock {
    /// The compressed bytes.
    pub frame: Vec<u8>,
    /// The block's length before compression, in bytes.
    pub length: u32,
    /// CRC-32 of the block, where the codec needs it, else 0.
    pub crc32: u32,
    /// SHA-256 of the frame.
    pub hash: [u8; 32],
}

/// Compresses blocks at one level. Each frame is a function of block, codec
/// and level alone, however many blocks went through before.
pub struct Encoder(EncoderKind);

enum EncoderKind {
    Gzip(gzip::Encoder),
    Zstd(Box<zstd::Encoder>),
}

impl Encoder {
    /// An encoder of this codec and level; the level is checked.
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

    /// The frame of one block of at most [`MAX_BLOCK_SIZE`] bytes, and the block's
    /// length.
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

impl EncodedBlock {
    /// Checks of what a host hands in to be appended that it can be a block of at
    /// most `block_size` bytes.
    pub(crate) fn check_lengths(&self, block_size: u32) -> Result<()> {
        let most = Codec::max_frame_length(self.length) as usize;
        if self.length == 0 || self.length > block_size || self.frame.is_empty() || self.frame.len() > most {
            return Err(Error::argument(format!(
                "a block of {} bytes with a frame of {} was not encoded for blocks of at most {block_size}",
                self.length,
                self.frame.len()
            )));
        }
        Ok(())
    }

    /// Checks that the frame is the one that was encoded.
    pub(crate) fn check_hash(&self) -> Result<()> {
        let found: [u8; 32] = Sha256::digest(&self.frame).into();
        if found != self.hash {
            return Err(Error::integrity("a frame was changed since it was encoded")
                .with("expected", crate::hash::hex(&self.hash))
                .with("found", crate::hash::hex(&found)));
        }
        Ok(())
    }
}

/// Where a block lies in a stored snapshot, and what it must be. Its slice of
/// the object is prefix, frame and suffix; the slices of all blocks tile the
/// data section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// The object that holds the slice; the snapshot's own if none.
    pub key: Option<String>,
    /// The etag which that object has to have; any if none.
    pub etag: Option<String>,
    /// The codec.
    pub codec: Codec,
    /// Where the slice begins in the object.
    pub offset: u64,
    /// The bytes before the frame.
    pub prefix: Vec<u8>,
    /// The frame's length in bytes.
    pub frame_length: u32,
    /// The bytes behind the frame.
    pub suffix: Vec<u8>,
    /// The block's length once decoded, in bytes.
    pub length: u32,
    /// SHA-256 of the frame.
    pub hash: [u8; 32],
}

impl BlockRef {
    /// The slice's length in bytes.
    pub fn slice_length(&self) -> usize {
        // A host may hand in anything.
        self.prefix.len().saturating_add(self.frame_length as usize).saturating_add(self.suffix.len())
    }
}

/// Checks and decompresses blocks.
#[derive(Default)]
pub struct Decoder {
    gzip: Option<gzip::Decoder>,
    zstd: Option<Box<zstd::Decoder>>,
}

impl Decoder {
    /// Replaces `out` by the block. The frame is decompressed only after its
    /// hash was found right, and never beyond the block's length.
    pub fn decode(&mut self, block: &BlockRef, slice: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.decode_with(block, slice, |frame| Sha256::digest(frame).into(), out)
    }

    /// Decodes a block as [`decode`](Self::decode) does, whose frame was hashed
    /// by whoever calls, and has this hash.
    pub fn decode_hashed(&mut self, block: &BlockRef, slice: &[u8], hash: [u8; 32], out: &mut Vec<u8>) -> Result<()> {
        self.decode_with(block, slice, |_| hash, out)
    }

    fn decode_with(&mut self, block: &BlockRef, slice: &[u8], hash: impl FnOnce(&[u8]) -> [u8; 32], out: &mut Vec<u8>) -> Result<()> {
        let end = block.offset.saturating_add(block.slice_length() as u64);
        let wrong = |what: &str| Error::integrity(format!("{what}, in bytes {} to {end}", block.offset));
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
            return Err(wrong("the checksum behind the last frame was changed"));
        }
        let found = hash(frame);
        if found != block.hash {
            return Err(wrong("a frame was changed")
                .with("expected", crate::hash::hex(&block.hash))
                .with("found", crate::hash::hex(&found)));
        }
        if block.length > MAX_BLOCK_SIZE || block.frame_length > Codec::max_frame_length(block.length) {
            return Err(Error::format(format!("a block is declared larger than {MAX_BLOCK_SIZE} bytes")));
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
            // What a broken frame left in them is no part of another one.
            (self.gzip, self.zstd) = (None, None);
            Error::format(format!("a frame breaks the rules of {}: {what}, in bytes {} to {end}", block.codec.name(), block.offset))
        })
    }
}
