//! The footer: where the sections are, and the digest that covers them.

use sha2::{Digest, Sha256};

use crate::carrier::{self, Section};
use crate::codec::Codec;
use crate::error::{Error, ErrorCode, Result};
use crate::table::{MAX_BLOCKS, ROW};

/// The format that is written, and the only one that is read.
pub const FORMAT_VERSION: u32 = 1;

/// The metadata document takes at most so many bytes, so that it and the
/// footer always fit into the last 64 KiB of a file.
pub const MAX_METADATA: usize = 48_000;

const MAGIC: [u8; 8] = *b"PERSIST\0";
const LENGTH: usize = 64;

/// Where a footer's payload stands before the end of a file.
fn payload_from_end(codec: Codec) -> usize {
    match codec {
        Codec::Gzip => LENGTH + 10,
        Codec::Zstd => LENGTH,
    }
}

/// The lengths of the sections, in bytes; of table and metadata the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) codec: Codec,
    pub(crate) data: u64,
    pub(crate) table: usize,
    pub(crate) metadata: usize,
    pub(crate) digest: [u8; 32],
}

fn fixed_part(data: u64, table: usize, metadata: usize) -> [u8; 32] {
    let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = [0; 32];
    let parts: [&[u8]; 6] = [&MAGIC, &FORMAT_VERSION.to_le_bytes(), &[0; 4], &data.to_le_bytes(), &word(table), &word(metadata)];
    for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    bytes
}

fn digest(fixed: &[u8; 32], table: &[u8], metadata: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(fixed);
    hash.update(table);
    hash.update(metadata);
    hash.finalize().into()
}

impl Footer {
    /// The footer of these sections.
    pub(crate) fn new(codec: Codec, data: u64, table: &[u8], metadata: &[u8]) -> Self {
        let fixed = fixed_part(data, table.len(), metadata.len());
        Self { codec, data, table: table.len(), metadata: metadata.len(), digest: digest(&fixed, table, metadata) }
    }

    /// Appends the carriers of table, metadata and footer.
    pub(crate) fn carry(&self, table: &[u8], metadata: &[u8], out: &mut Vec<u8>) {
        carrier::carry(self.codec, Section::Table, table, out);
        carrier::carry(self.codec, Section::Metadata, metadata, out);
        let mut payload = fixed_part(self.data, self.table, self.metadata).to_vec();
        payload.extend_from_slice(&self.digest);
        carrier::carry(self.codec, Section::Footer, &payload, out);
    }

    /// Reads the footer of an object of `size` bytes that ends with `tail`.
    /// `None` where there is none. Lengths are checked against the size here,
    /// before anybody allocates by them.
    pub(crate) fn parse(tail: &[u8], size: u64) -> Result<Option<Self>> {
        let found = [Codec::Gzip, Codec::Zstd].into_iter().find_map(|codec| {
            let carriers = tail.get(tail.len().checked_sub(carrier::carried_length(codec, LENGTH))?..)?;
            let payload = tail.get(tail.len().checked_sub(payload_from_end(codec))?..)?.first_chunk::<LENGTH>()?;
            payload.starts_with(&MAGIC).then_some((codec, carriers, payload))
        });
        let Some((codec, carriers, payload)) = found else { return Ok(None) };
        let (words, _) = payload.as_chunks::<4>();
        let word = |index: usize| words.get(index).copied().map_or(0, u32::from_le_bytes);
        // First of all: nothing else is known of a format that is not this one.
        if word(2) != FORMAT_VERSION {
            return Err(Error::new(
                ErrorCode::UnsupportedFormat,
                format!("the snapshot has format {}, this version reads format {FORMAT_VERSION}: a newer version may read it", word(2)),
            ));
        }
        let offset = size.saturating_sub(carriers.len() as u64);
        carrier::uncarry(codec, Section::Footer, carriers, LENGTH, offset)?;
        let footer = Self {
            codec,
            data: u64::from(word(4)) | u64::from(word(5)) << 32,
            table: word(6) as usize,
            metadata: word(7) as usize,
            digest: payload.last_chunk().copied().unwrap_or_default(),
        };
        if word(3) != 0 {
            return Err(Error::integrity(format!(
                "the footer was changed, at byte {}",
                size.saturating_sub(payload_from_end(codec) as u64 - 12)
            )));
        }
        // A lie, before it can be anything else: the sections alone are larger.
        let payloads = footer.data.saturating_add(footer.table as u64).saturating_add(footer.metadata as u64);
        if payloads > size {
            return Err(Error::integrity(format!(
                "the file is {size} bytes long, but its footer declares at least {payloads}: bytes are missing"
            )));
        }
        if footer.table > MAX_BLOCKS as usize * ROW {
            return Err(Error::new(
                ErrorCode::LimitExceeded,
                format!("the footer declares a block table of {} bytes; at most {MAX_BLOCKS} blocks are read", footer.table),
            ));
        }
        if footer.metadata > MAX_METADATA {
            return Err(Error::format(format!(
                "the footer declares {} bytes of metadata; at most {MAX_METADATA} are read",
                footer.metadata
            )));
        }
        let sections = footer.data.saturating_add(footer.trailing_length() as u64);
        if sections != size {
            return Err(Error::integrity(format!(
                "the file is {size} bytes long, but its footer declares {sections}: bytes are missing or too many"
            )));
        }
        Ok(Some(footer))
    }

    /// Whether table and metadata are those that the digest was made of.
    pub(crate) fn check(&self, table: &[u8], metadata: &[u8]) -> Result<()> {
        let found = digest(&fixed_part(self.data, self.table, self.metadata), table, metadata);
        if found == self.digest {
            return Ok(());
        }
        Err(Error::integrity("block table, metadata or footer were changed: they do not match the digest")
            .with("expected", crate::hash::hex(&self.digest))
            .with("found", crate::hash::hex(&found)))
    }

    /// The length of the metadata's carriers.
    pub(crate) fn metadata_length(&self) -> usize {
        carrier::carried_length(self.codec, self.metadata)
    }

    /// The length of the table's carriers.
    pub(crate) fn table_length(&self) -> usize {
        carrier::carried_length(self.codec, self.table)
    }

    /// The length of all carriers, behind the data.
    pub(crate) fn trailing_length(&self) -> usize {
        self.table_length() + self.metadata_length() + carrier::carried_length(self.codec, LENGTH)
    }

    /// The payloads of table and metadata, out of the object's last bytes,
    /// which reach back at least to the table.
    pub(crate) fn uncarry(&self, trailing: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let start = trailing.len().saturating_sub(self.trailing_length());
        let (table, rest) = trailing.get(start..).unwrap_or_default().split_at_checked(self.table_length()).unwrap_or_default();
        let metadata = rest.get(..self.metadata_length()).unwrap_or_default();
        let table_end = self.data.saturating_add(self.table_length() as u64);
        let table = carrier::uncarry(self.codec, Section::Table, table, self.table, self.data)?;
        let metadata = carrier::uncarry(self.codec, Section::Metadata, metadata, self.metadata, table_end)?;
        self.check(&table, &metadata)?;
        Ok((table, metadata))
    }
}
