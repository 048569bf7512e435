//! The footer: where the sections are, and the digest that covers them.
//!
//! The **root** is what a seal signs. It covers the footer and the metadata; the
//! metadata holds the hash of the table, and the table that of every frame. The
//! **digest** covers the root and the seal. So a seal can be added without changing
//! the root, and no bit of the seal can change unnoticed.

use persist_model::FORMAT_VERSION;
use sha2::{Digest, Sha256};

use crate::carrier::{self, Section};
use crate::codec::{Codec, gzip};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{MAX_BLOCKS, MAX_METADATA, MAX_SEAL};
use crate::table::MAX_TABLE;

const MAGIC: [u8; 8] = *b"PERSIST\0";
const LENGTH: usize = 64;

/// The input of the root's hash begins with this, so that it can't be the hash of
/// anything else.
const ROOT_DOMAIN: [u8; 16] = *b"persist.root.v1\0";

/// The distance from the beginning of a footer's payload to the end of the file.
fn payload_from_end(codec: Codec) -> usize {
    match codec {
        Codec::Gzip => LENGTH + gzip::TRAILER,
        Codec::Zstd => LENGTH,
    }
}

/// A footer. The lengths are in bytes, of the data as it is stored, and of the other
/// sections without their carriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) codec: Codec,
    pub(crate) seal: usize,
    pub(crate) data: u64,
    pub(crate) table: usize,
    pub(crate) metadata: usize,
    pub(crate) digest: [u8; 32],
}

/// What matches the digest of a footer: metadata, seal and root.
pub(crate) struct Checked {
    pub(crate) metadata: Vec<u8>,
    pub(crate) seal: Vec<u8>,
    pub(crate) root: [u8; 32],
}

impl Footer {
    /// Returns the footer of these sections, without a seal, and the root.
    pub(crate) fn new(codec: Codec, data: u64, table: &[u8], metadata: &[u8]) -> (Self, [u8; 32]) {
        let footer = Self { codec, seal: 0, data, table: table.len(), metadata: metadata.len(), digest: [0; 32] };
        let root = footer.root(metadata);
        (Self { digest: digest_of(&root, &[]), ..footer }, root)
    }

    /// Bytes 0 to 31 of the payload, with this seal length.
    fn fixed_part(&self, seal: usize) -> [u8; 32] {
        let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = [0; 32];
        let parts: [&[u8]; 6] =
            [&MAGIC, &FORMAT_VERSION.to_le_bytes(), &word(seal), &self.data.to_le_bytes(), &word(self.table), &word(self.metadata)];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// The hash that depends on every byte except those of the seal.
    fn root(&self, metadata: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(ROOT_DOMAIN).chain_update(self.fixed_part(0)).chain_update(metadata).finalize().into()
    }

    /// Appends the carriers of table, metadata, seal and footer.
    pub(crate) fn carry(&self, table: &[u8], metadata: &[u8], seal: &[u8], out: &mut Vec<u8>) {
        carrier::carry(self.codec, Section::Table, table, out);
        carrier::carry(self.codec, Section::Metadata, metadata, out);
        carrier::carry(self.codec, Section::Seal, seal, out);
        let mut payload = self.fixed_part(self.seal).to_vec();
        payload.extend_from_slice(&self.digest);
        carrier::carry(self.codec, Section::Footer, &payload, out);
    }

    /// Reads the footer at the end of `tail`, which ends at byte `end` of the object;
    /// `None` if there is none. Checks the declared lengths against the limits of the
    /// format; [`check_size`](Self::check_size) checks them against the object's size.
    pub(crate) fn parse(tail: &[u8], end: u64) -> Result<Option<Self>> {
        let Some(format) = Self::format(tail) else { return Ok(None) };
        if format == FORMAT_VERSION {
            return Self::parse_as_ours(tail, end);
        }
        // Nothing else is known about another format. But if the digest of this one
        // matches, only the number was changed.
        if let Ok(Some(footer)) = Self::parse_as_ours(tail, end)
            && footer.uncarry(tail, end).is_ok()
        {
            return Err(Error::integrity(format!("the format number in the footer was changed from {FORMAT_VERSION} to {format}")));
        }
        if format == 0 {
            // Zeros in place of the end of the file look like this.
            return Err(Error::integrity("the footer was changed: it names format 0, which does not exist"));
        }
        Err(Error::new(
            ErrorCode::UnsupportedFormat,
            format!("the snapshot has format {format}, but this version reads only format {FORMAT_VERSION}: a newer version may read it"),
        ))
    }

    /// Returns the codec, carriers and payload of the footer at the end of `tail`.
    fn find(tail: &[u8]) -> Option<(Codec, &[u8], &[u8; LENGTH])> {
        [Codec::Gzip, Codec::Zstd].into_iter().find_map(|codec| {
            let carriers = tail.get(tail.len().checked_sub(carrier::carried_length(codec, LENGTH))?..)?;
            let payload = tail.get(tail.len().checked_sub(payload_from_end(codec))?..)?.first_chunk::<LENGTH>()?;
            payload.starts_with(&MAGIC).then_some((codec, carriers, payload))
        })
    }

    /// The format number in the footer. It is at the same place in all formats.
    fn format(tail: &[u8]) -> Option<u32> {
        let (_, _, payload) = Self::find(tail)?;
        payload.as_chunks::<4>().0.get(2).copied().map(u32::from_le_bytes)
    }

    /// Reads a footer as [`parse`](Self::parse) does, but ignores its format number,
    /// which may be damaged.
    pub(crate) fn parse_as_ours(tail: &[u8], end: u64) -> Result<Option<Self>> {
        let Some((codec, carriers, payload)) = Self::find(tail) else { return Ok(None) };
        let (words, _) = payload.as_chunks::<4>();
        let word = |index: usize| words.get(index).copied().map_or(0, u32::from_le_bytes);
        carrier::uncarry(codec, Section::Footer, carriers, LENGTH, end.saturating_sub(carriers.len() as u64))?;
        let footer = Self {
            codec,
            seal: word(3) as usize,
            data: u64::from(word(4)) | u64::from(word(5)) << 32,
            table: word(6) as usize,
            metadata: word(7) as usize,
            digest: payload.last_chunk().copied().unwrap_or_default(),
        };
        for (section, length, most) in [("a seal", footer.seal, MAX_SEAL), ("metadata", footer.metadata, MAX_METADATA)] {
            if length > most {
                return Err(Error::format(format!("the footer declares {section} of {length} bytes; at most {most} are read")));
            }
        }
        if footer.table > MAX_TABLE {
            // Either the state is too large, or the length was changed.
            let code = if footer.fits(end) { ErrorCode::LimitExceeded } else { ErrorCode::Integrity };
            let message = format!("the footer declares a block table of {} bytes; at most {MAX_BLOCKS} blocks are read", footer.table);
            return Err(Error::new(code, message));
        }
        Ok(Some(footer))
    }

    /// Whether the declared sections fit into an object of this size.
    fn fits(&self, size: u64) -> bool {
        let trailing = [self.table, self.metadata, self.seal].iter().fold(self.data, |sum, length| sum.saturating_add(*length as u64));
        trailing <= size
    }

    /// Whether the sections add up to an object of this size.
    pub(crate) fn check_size(&self, size: u64) -> Result<()> {
        let declared = self.declared_size();
        if declared == size {
            return Ok(());
        }
        Err(Error::integrity(format!("the file is {size} bytes long, but its footer declares {declared}: bytes were lost or added")))
    }

    /// The size of the whole object, according to the declared lengths.
    pub(crate) fn declared_size(&self) -> u64 {
        self.data.saturating_add(self.trailing_length() as u64)
    }

    /// The length of the carriers of metadata, seal and footer, which end the object.
    pub(crate) fn head_length(&self) -> usize {
        carrier::carried_length(self.codec, self.metadata)
            + carrier::carried_length(self.codec, self.seal)
            + carrier::carried_length(self.codec, LENGTH)
    }

    /// The length of the table's carriers.
    pub(crate) fn table_length(&self) -> usize {
        carrier::carried_length(self.codec, self.table)
    }

    /// The length of all carriers, which follow the data.
    pub(crate) fn trailing_length(&self) -> usize {
        self.table_length() + self.head_length()
    }

    /// Extracts metadata and seal from the last bytes of an object that ends at byte
    /// `end`, and checks them against the digest.
    pub(crate) fn uncarry(&self, tail: &[u8], end: u64) -> Result<Checked> {
        let start = tail.len().saturating_sub(self.head_length());
        let metadata_length = carrier::carried_length(self.codec, self.metadata);
        let (metadata, rest) = tail.get(start..).unwrap_or_default().split_at_checked(metadata_length).unwrap_or_default();
        let seal = rest.get(..carrier::carried_length(self.codec, self.seal)).unwrap_or_default();
        let offset = end.saturating_sub(self.head_length() as u64);
        let metadata = carrier::uncarry(self.codec, Section::Metadata, metadata, self.metadata, offset)?;
        let seal = carrier::uncarry(self.codec, Section::Seal, seal, self.seal, offset.saturating_add(metadata_length as u64))?;
        let root = self.root(&metadata);
        let found = digest_of(&root, &seal);
        if found == self.digest {
            return Ok(Checked { metadata, seal, root });
        }
        Err(Error::integrity("the metadata, the seal or the footer was changed: they do not match the digest")
            .with("expected", crate::hash::hex(&self.digest))
            .with("found", crate::hash::hex(&found)))
    }

    /// Extracts the table from its carriers, which begin at byte `offset` of the object,
    /// and checks it against this hash.
    pub(crate) fn uncarry_table(&self, carriers: &[u8], offset: u64, hash: &str) -> Result<Vec<u8>> {
        let table = carrier::uncarry(self.codec, Section::Table, carriers, self.table, offset)?;
        let found = crate::hash::hex(&Sha256::digest(&table));
        if found == hash {
            return Ok(table);
        }
        Err(Error::integrity("the block table was changed: it does not match the hash in the metadata")
            .with("expected", hash)
            .with("found", found))
    }
}

pub(crate) fn digest_of(root: &[u8; 32], seal: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(root).chain_update(seal).finalize().into()
}

/// Whether a footer begins anywhere in `tail`.
pub(crate) fn has_begun(tail: &[u8]) -> bool {
    tail.windows(MAGIC.len()).any(|window| window == MAGIC)
}

/// Returns the places in `tail`, the end of a file, where a footer may end. Bytes may
/// have been added after it. The last place comes first.
pub(crate) fn possible_ends(tail: &[u8]) -> impl Iterator<Item = usize> {
    let at = tail.windows(MAGIC.len()).enumerate().rev().filter(|(_, window)| *window == MAGIC).map(|(at, _)| at);
    at.flat_map(|at| [Codec::Gzip, Codec::Zstd].map(|codec| at + payload_from_end(codec))).filter(|end| *end <= tail.len())
}
