//! Carriers hold the table, metadata, seal and footer in a file that every other tool
//! reads as plain gzip or zstd. They decompress to nothing.
//!
//! In gzip they are empty members, each with one extra field of at most
//! [`GZIP_PAYLOAD`] bytes. In zstd each is one skippable frame.

use crate::codec::{Codec, gzip, zstd};
use crate::error::{Error, Result};

/// What a carrier holds, in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Table,
    Metadata,
    Seal,
    Footer,
}

/// The payload of every gzip carrier of a section except the last. An extra field may
/// have 65,535 bytes, but BusyBox fails on more than about 16 KiB.
const GZIP_PAYLOAD: usize = 16_000;

/// Bytes before the payload in a gzip carrier: header (10), length of the extra
/// field (2), ID and length of its subfield (4).
const GZIP_BEFORE: usize = 16;

/// Bytes around the payload in a gzip carrier.
const GZIP_OVERHEAD: usize = GZIP_BEFORE + gzip::TRAILER;

/// Bytes before the payload in a zstd carrier: magic number and length.
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

    /// The subfield ID in the gzip extra field.
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
            Self::Table => zstd::SKIPPABLE + 1,
            Self::Metadata => zstd::SKIPPABLE + 2,
            Self::Footer => zstd::SKIPPABLE + 3,
            Self::Seal => zstd::SKIPPABLE + 4,
        }
    }
}

/// The total length of the carriers of a payload. An empty payload has no carrier.
pub(crate) fn carried_length(codec: Codec, payload: usize) -> usize {
    payload
        + match codec {
            Codec::Gzip => payload.div_ceil(GZIP_PAYLOAD) * GZIP_OVERHEAD,
            Codec::Zstd if payload == 0 => 0,
            Codec::Zstd => ZSTD_OVERHEAD,
        }
}

/// Appends the carriers of `payload`. An empty payload has no carrier.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a gzip payload has at most 16,000 bytes, a zstd payload those of a table of MAX_BLOCKS"
)]
pub(crate) fn carry(codec: Codec, section: Section, payload: &[u8], out: &mut Vec<u8>) {
    match codec {
        Codec::Gzip => {
            for part in payload.chunks(GZIP_PAYLOAD) {
                out.extend_from_slice(&gzip::header(gzip::FEXTRA));
                out.extend_from_slice(&(part.len() as u16 + 4).to_le_bytes());
                out.extend_from_slice(&section.gzip_id());
                out.extend_from_slice(&(part.len() as u16).to_le_bytes());
                out.extend_from_slice(part);
                // An empty body, and its CRC-32 and size.
                out.extend_from_slice(&gzip::trailer(0, 0));
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

/// Returns the payload of `length` bytes that `carriers` hold. They are valid only if
/// [`carry`] makes the same bytes of that payload. `offset` is where they begin in the
/// object, for the error.
pub(crate) fn uncarry(codec: Codec, section: Section, carriers: &[u8], length: usize, offset: u64) -> Result<Vec<u8>> {
    let mut payload = Vec::with_capacity(length.min(carriers.len()));
    match codec {
        Codec::Gzip => {
            for carrier in carriers.chunks(GZIP_PAYLOAD + GZIP_OVERHEAD) {
                payload.extend_from_slice(carrier.get(GZIP_BEFORE..carrier.len().saturating_sub(gzip::TRAILER)).unwrap_or_default());
            }
        }
        Codec::Zstd => payload.extend_from_slice(carriers.get(ZSTD_OVERHEAD..).unwrap_or_default()),
    }
    let mut expected = Vec::with_capacity(carriers.len());
    carry(codec, section, &payload, &mut expected);
    if payload.len() != length || expected != carriers {
        let at = expected.iter().zip(carriers).position(|(a, b)| a != b).unwrap_or(0);
        return Err(Error::integrity(format!("the {} was changed (at byte {})", section.name(), offset.saturating_add(at as u64))));
    }
    Ok(payload)
}

/// The payload length of a section's zstd carrier that begins with these bytes.
pub(crate) fn zstd_length(section: Section, beginning: &[u8]) -> Option<usize> {
    let (magic, rest) = beginning.split_first_chunk::<4>()?;
    let length = rest.first_chunk::<4>()?;
    (u32::from_le_bytes(*magic) == section.zstd_magic()).then_some(u32::from_le_bytes(*length) as usize)
}
