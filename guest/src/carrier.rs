//! Carriers: what takes table, metadata, seal and footer along in a file that every
//! other tool reads as plain gzip or zstd. They decompress to nothing.
//!
//! gzip: empty members with one extra field of at most [`GZIP_PAYLOAD`] bytes.
//! zstd: one skippable frame.

use crate::codec::Codec;
use crate::error::{Error, Result};

/// What a carrier carries, in the order they stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Table,
    Metadata,
    Seal,
    Footer,
}

/// Payload of every gzip carrier but the last of a run. An extra field may
/// have 65,535 bytes; BusyBox fails on more than about 16 KiB.
const GZIP_PAYLOAD: usize = 16_000;

/// Bytes around a payload in a gzip carrier: header and field 16, body 2, CRC and size 8.
const GZIP_OVERHEAD: usize = 26;

/// Bytes before a payload in a zstd carrier: magic and length.
pub(crate) const ZSTD_OVERHEAD: usize = 8;

impl Section {
    fn name(self) -> &'static str {
        match self {
            Self::Table => "block table",
            Self::Metadata => "metadata",
            Self::Seal => "seal",
            Self::Footer => "footer",
        }
    }

    /// The identifier of the gzip extra field.
    fn gzip_id(self) -> [u8; 2] {
        match self {
            Self::Table => *b"PT",
            Self::Metadata => *b"PM",
            Self::Seal => *b"PS",
            Self::Footer => *b"PF",
        }
    }

    /// The magic number of the skippable zstd frame.
    fn zstd_magic(self) -> u32 {
        match self {
            Self::Table => 0x184D_2A51,
            Self::Metadata => 0x184D_2A52,
            Self::Footer => 0x184D_2A53,
            Self::Seal => 0x184D_2A54,
        }
    }
}

/// How long the carriers of a payload of this many bytes are; an empty one has none.
pub(crate) fn carried_length(codec: Codec, payload: usize) -> usize {
    payload
        + match codec {
            Codec::Gzip => payload.div_ceil(GZIP_PAYLOAD) * GZIP_OVERHEAD,
            Codec::Zstd if payload == 0 => 0,
            Codec::Zstd => ZSTD_OVERHEAD,
        }
}

/// Appends the carriers of `payload`; an empty one has none.
#[allow(clippy::cast_possible_truncation, reason = "a gzip payload is at most 16,000, a zstd one at most a table of MAX_BLOCKS")]
pub(crate) fn carry(codec: Codec, section: Section, payload: &[u8], out: &mut Vec<u8>) {
    match codec {
        Codec::Gzip => {
            for part in payload.chunks(GZIP_PAYLOAD) {
                // Deflate, a header with an extra field only, no time, no
                // extra flags, no operating system; the field; its payload.
                out.extend_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff]);
                out.extend_from_slice(&(part.len() as u16 + 4).to_le_bytes());
                out.extend_from_slice(&section.gzip_id());
                out.extend_from_slice(&(part.len() as u16).to_le_bytes());
                out.extend_from_slice(part);
                // An empty body, and the CRC-32 and size of nothing.
                out.extend_from_slice(&[0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            }
        }
        Codec::Zstd if payload.is_empty() => {}
        Codec::Zstd => {
            out.extend_from_slice(&section.zstd_magic().to_le_bytes());
            out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            out.extend_from_slice(payload);
        }
    }
}

/// The payload of `length` bytes that `carriers` hold. `offset` is where they
/// begin in the object, for the error: a carrier is right only if it is, byte
/// for byte, what [`carry`] makes of its payload.
pub(crate) fn uncarry(codec: Codec, section: Section, carriers: &[u8], length: usize, offset: u64) -> Result<Vec<u8>> {
    let mut payload = Vec::with_capacity(length.min(carriers.len()));
    match codec {
        Codec::Gzip => {
            for carrier in carriers.chunks(GZIP_PAYLOAD + GZIP_OVERHEAD) {
                payload.extend_from_slice(carrier.get(16..carrier.len().saturating_sub(10)).unwrap_or_default());
            }
        }
        Codec::Zstd => payload.extend_from_slice(carriers.get(ZSTD_OVERHEAD..).unwrap_or_default()),
    }
    let mut expected = Vec::with_capacity(carriers.len());
    carry(codec, section, &payload, &mut expected);
    if payload.len() != length || expected != carriers {
        let at = expected.iter().zip(carriers).position(|(a, b)| a != b).unwrap_or(0);
        return Err(Error::integrity(format!("the {} was changed, at byte {}", section.name(), offset.saturating_add(at as u64))));
    }
    Ok(payload)
}

/// The length of the payload in a section's zstd carrier that begins with these
/// bytes.
pub(crate) fn zstd_length(section: Section, beginning: &[u8]) -> Option<usize> {
    let (magic, rest) = beginning.split_first_chunk::<4>()?;
    let length = rest.first_chunk::<4>()?;
    (u32::from_le_bytes(*magic) == section.zstd_magic()).then_some(u32::from_le_bytes(*length) as usize)
}
