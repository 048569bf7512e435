//! The codecs, with their names, levels, block sizes, header and trailer.

use std::ops::RangeInclusive;

use crate::codec::{gzip, zstd};
use crate::error::{Error, Result};

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1952; all frames are in one member.
    Gzip,
    /// RFC 8878; one zstd frame per block, all with the same form of header.
    Zstd,
}

impl Codec {
    /// Returns the codec for a key: zstd for `.zst` and `.zstd` in any case, otherwise
    /// gzip.
    pub fn for_key(key: &str) -> Self {
        Self::named_by(key).unwrap_or(Self::Gzip)
    }

    /// Returns the codec that a key's ending names, in any case; `None` for other
    /// endings.
    pub fn named_by(key: &str) -> Option<Self> {
        const ENDINGS: [(&str, Codec); 3] = [("gz", Codec::Gzip), ("zst", Codec::Zstd), ("zstd", Codec::Zstd)];
        let (_, ending) = key.rsplit_once('.')?;
        ENDINGS.into_iter().find_map(|(name, codec)| ending.eq_ignore_ascii_case(name).then_some(codec))
    }

    /// The codec's name in metadata: `gzip` or `zstd`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the codec with this name.
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

    /// The bytes of state in every block except the last, where this library cuts the
    /// state into blocks.
    pub fn block_size(self) -> u32 {
        match self {
            Self::Gzip => gzip::BLOCK_SIZE,
            Self::Zstd => zstd::BLOCK_SIZE,
        }
    }

    /// The level to use if none is given.
    pub fn default_level(self) -> i32 {
        match self {
            Self::Gzip => gzip::DEFAULT_LEVEL,
            Self::Zstd => zstd::DEFAULT_LEVEL,
        }
    }

    /// The valid levels, except 0: other zstd tools take it for "the default".
    pub fn levels(self) -> RangeInclusive<i32> {
        match self {
            Self::Gzip => gzip::LEVELS,
            Self::Zstd => zstd::LEVELS,
        }
    }

    /// Checks a level, or returns the default if none is given.
    pub fn level(self, asked: Option<i32>) -> Result<i32> {
        let Some(level) = asked else { return Ok(self.default_level()) };
        let levels = self.levels();
        if !levels.contains(&level) || level == 0 {
            return Err(Error::argument(format!(
                "{} has no level {level}; its levels are {} to {}{}",
                self.name(),
                levels.start(),
                levels.end(),
                if levels.contains(&0) { " except 0" } else { "" },
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

    /// The bytes after the last frame, for a state with this CRC-32 and size.
    pub fn trailer(self, crc32: u32, size: u64) -> Vec<u8> {
        match self {
            Self::Gzip => gzip::trailer(crc32, size),
            Self::Zstd => Vec::new(),
        }
    }

    /// Whether the codec's trailer needs the CRC-32 of the state.
    pub fn needs_crc32(self) -> bool {
        self == Self::Gzip
    }

    /// The longest valid frame of a block of this length: slightly more than either
    /// codec needs for incompressible data.
    pub fn max_frame_length(length: u32) -> u32 {
        length.saturating_add(length / 64).saturating_add(1024)
    }
}
