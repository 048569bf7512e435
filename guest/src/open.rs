//! Opens snapshots: reads and checks everything except the data.

use crate::codec::BlockRef;
use crate::error::{Error, ErrorCode, Result};
use crate::footer::{self, Checked, Footer};
use crate::metadata::{Document, Metadata};
use crate::no_footer::no_footer;
use crate::storage::{ByteRange, CHUNK, ObjectInfo, Reader, Storage, read_all, read_exact};
use crate::table::Table;

/// Bytes in the first request for an object. They always include footer, seal and
/// metadata, and also the table if the state has up to about 1.5 GiB (gzip).
pub(crate) const TAIL: u64 = 65_536;

/// How many zeros at the end of an object are skipped in search of content before them.
/// A sparse file may have terabytes.
const MAX_ZEROS: u64 = 256 << 20;

/// More zeros than a footer can end with: its digest, and in gzip the end of its
/// carrier.
const ZEROS_OF_FOOTER: u64 = 64;

/// How often opening a snapshot is tried if it is replaced at the same time.
const ATTEMPTS: u32 = 3;

/// How many block references are made from the table at a time.
pub(crate) const BATCH: usize = 256;

/// Runs `open` again if the object changed between its requests.
pub(crate) fn until_stable<T>(mut open: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempt = 1;
    loop {
        match open() {
            Err(error) if error.code == ErrorCode::PreconditionFailed && attempt < ATTEMPTS => attempt += 1,
            opened => return opened,
        }
    }
}

/// Footer, metadata and seal of a snapshot, read and checked.
pub(crate) struct Head {
    pub(crate) info: ObjectInfo,
    pub(crate) footer: Footer,
    pub(crate) document: Document,
    /// Seal, root, and the document exactly as it was read.
    checked: Checked,
    /// The last bytes of the object, as they were read. All of it, if it is small.
    tail: Vec<u8>,
}

impl Head {
    /// Reads the head of a snapshot from the last bytes of an object.
    pub(crate) fn open<S: Storage>(storage: &S, key: &str) -> Result<Self> {
        let (info, tail) = read_tail(storage, key)?;
        Self::of_tail(storage, info, tail)
    }

    /// Parses the last bytes of an object: [`TAIL`] of them, or all.
    pub(crate) fn of_tail<S: Storage>(storage: &S, info: ObjectInfo, tail: Vec<u8>) -> Result<Self> {
        if tail.len() as u64 != info.size.min(TAIL) {
            return Err(Error::short_read(tail.len() as u64, info.size.min(TAIL)));
        }
        let Some(footer) = Footer::parse(&tail, info.size)? else {
            return Err(no_footer(storage, &info, &tail)?);
        };
        footer.check_size(info.size)?;
        Self::parse(info, footer, tail)
    }

    /// Looks for the head of a damaged snapshot: bytes may have been added after its
    /// footer, or added or lost before it. If there are both extra bytes before a footer
    /// and something after it, it may be part of the state and is skipped.
    pub(crate) fn open_damaged<S: Storage>(storage: &S, info: &ObjectInfo, end_of_content: u64) -> Result<Option<Self>> {
        // A footer may itself end with zeros.
        let end = info.size.min(end_of_content.saturating_add(ZEROS_OF_FOOTER));
        let start = end.saturating_sub(TAIL);
        let span = ByteRange::Span { offset: start, length: end - start };
        let tail = read_all(&mut storage.open_read(&info.key, span, info.etag.as_deref())?, usize::try_from(TAIL).unwrap_or(usize::MAX))?;
        for at in footer::possible_ends(&tail) {
            let (tail, end) = (tail.get(..at).unwrap_or_default(), start + at as u64);
            if let Ok(Some(footer)) = Footer::parse_as_ours(tail, end)
                && (footer.declared_size() >= end || end >= end_of_content)
                && footer.head_length() <= tail.len()
                && let Ok(head) = Self::parse(ObjectInfo { size: end, ..info.clone() }, footer, tail.to_vec())
            {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    fn parse(info: ObjectInfo, footer: Footer, tail: Vec<u8>) -> Result<Self> {
        let checked = footer.uncarry(&tail, info.size)?;
        let document = Document::parse(&checked.metadata)?;
        if document.codec != footer.codec {
            return Err(Error::format("the metadata names a different codec from the file's"));
        }
        if document.codec.needs_crc32() && document.crc32.is_none() {
            return Err(Error::format("the metadata has no 'crc32'"));
        }
        if document.compressed_size != footer.data {
            return Err(disagreeing_sizes());
        }
        Ok(Self { info, footer, document, checked, tail })
    }

    /// Reads and checks the table.
    pub(crate) fn table<S: Storage>(&self, storage: &S) -> Result<Table> {
        let (length, trailing) = (self.footer.table_length(), self.footer.trailing_length());
        let offset = self.info.size.saturating_sub(trailing as u64);
        let hash = &self.document.table_hash;
        let bytes = if trailing <= self.tail.len() {
            let start = self.tail.len() - trailing;
            let carriers = self.tail.get(start..start + length).unwrap_or_default();
            self.footer.uncarry_table(carriers, offset, hash)?
        } else {
            let span = ByteRange::Span { offset, length: length as u64 };
            let mut reader = storage.open_read(&self.info.key, span, self.info.etag.as_deref())?;
            self.footer.uncarry_table(&read_exact(&mut reader, length)?, offset, hash)?
        };
        let table = Table::parse(bytes, self.document.block_size)?;
        let data = table.data_length(self.document.codec, &self.trailer());
        if data != self.footer.data || table.state_size() != self.document.uncompressed_size {
            return Err(disagreeing_sizes());
        }
        Ok(table)
    }

    /// The bytes after the frames.
    pub(crate) fn trailer(&self) -> Vec<u8> {
        self.document.codec.trailer(self.document.crc32.unwrap_or_default(), self.document.uncompressed_size)
    }

    pub(crate) fn metadata(&self) -> Metadata {
        self.document.clone().into_metadata(&self.checked.root, &self.footer, &self.info)
    }

    /// Explains an error that occurred while the snapshot was read. Without etags a
    /// storage can't be asked for the version that was opened, so if there is another
    /// version now, the read may have mixed the two.
    pub(crate) fn explain<S: Storage>(&self, storage: &S, error: Error) -> Error {
        let may_be_mixed = matches!(error.code, ErrorCode::Integrity | ErrorCode::InvalidFormat | ErrorCode::Io);
        if self.info.etag.is_some() || !may_be_mixed {
            return error;
        }
        let was_replaced = match Self::open(storage, &self.info.key) {
            Ok(now) => now.footer.digest != self.footer.digest,
            Err(now) => now.code == ErrorCode::NotFound,
        };
        if !was_replaced {
            return error;
        }
        Error { retryable: true, ..Error::new(ErrorCode::PreconditionFailed, "the snapshot was replaced while it was being read") }
    }
}

fn disagreeing_sizes() -> Error {
    Error::format("the sizes in the footer, block table and metadata do not agree")
}

fn read_tail<S: Storage>(storage: &S, key: &str) -> Result<(ObjectInfo, Vec<u8>)> {
    let mut reader = storage.open_read(key, ByteRange::Suffix(TAIL), None)?;
    let info = reader.info();
    let tail = read_all(&mut reader, usize::try_from(info.size.min(TAIL)).unwrap_or(usize::MAX))?;
    Ok((info, tail))
}

/// Returns where the zeros at the end of an object begin. A crash of the machine may
/// have left them in place of content.
pub(crate) fn end_of_content<S: Storage>(storage: &S, info: &ObjectInfo) -> Result<u64> {
    let mut end = info.size;
    while end > info.size.saturating_sub(MAX_ZEROS) {
        let length = end.min(CHUNK as u64);
        let span = ByteRange::Span { offset: end - length, length };
        let mut reader = storage.open_read(&info.key, span, info.etag.as_deref())?;
        let bytes = read_exact(&mut reader, usize::try_from(length).unwrap_or(usize::MAX))?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            return Ok(end - length + last as u64 + 1);
        }
        end -= length;
    }
    Ok(end)
}

/// A snapshot whose head and table were read and checked.
pub(crate) struct OpenSnapshot {
    pub(crate) head: Head,
    table: Table,
    trailer: Vec<u8>,
}

impl OpenSnapshot {
    /// Reads and checks everything except the data.
    pub(crate) fn open<S: Storage>(storage: &S, key: &str) -> Result<Self> {
        Self::from_head(storage, Head::open(storage, key)?)
    }

    /// Reads and checks the table of a head.
    pub(crate) fn from_head<S: Storage>(storage: &S, head: Head) -> Result<Self> {
        let table = head.table(storage).map_err(|error| head.explain(storage, error))?;
        let trailer = head.trailer();
        Ok(Self { head, table, trailer })
    }

    pub(crate) fn document(&self) -> &Document {
        &self.head.document
    }

    pub(crate) fn data_length(&self) -> u64 {
        self.head.footer.data
    }

    pub(crate) fn block_count(&self) -> u32 {
        u32::try_from(self.table.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = BlockRef> {
        self.table.blocks(self.document().codec, &self.trailer)
    }

    /// Returns references to at most [`BATCH`] blocks, starting with number `first`.
    pub(crate) fn batch(&self, first: usize) -> Vec<BlockRef> {
        self.blocks().skip(first).take(BATCH).collect()
    }

    /// Takes the whole object, if it is small enough that opening has read all of it.
    pub(crate) fn take_whole_object(&mut self) -> Option<Vec<u8>> {
        (self.head.tail.len() as u64 == self.head.info.size).then(|| std::mem::take(&mut self.head.tail))
    }

    /// Returns the bytes that have to follow the data.
    pub(crate) fn trailing_bytes(&self) -> Vec<u8> {
        let Head { footer, checked, .. } = &self.head;
        let mut bytes = Vec::with_capacity(footer.trailing_length());
        footer.carry(self.table.bytes(), &checked.metadata, &checked.seal, &mut bytes);
        bytes
    }

    pub(crate) fn metadata(&self) -> Metadata {
        self.head.metadata()
    }

    /// Checks the SHA-256 of the whole state, and its CRC-32 if the file has one.
    pub(crate) fn check_state(&self, content_hash: [u8; 32], crc32: u32) -> Result<()> {
        let document = self.document();
        let found = crate::hash::hex(&content_hash);
        if found != document.content_hash {
            return Err(Error::integrity("the state does not match the content hash in the metadata")
                .with("expected", &document.content_hash)
                .with("found", found));
        }
        if document.crc32.is_some_and(|expected| expected != crc32) {
            return Err(Error::integrity("the state does not match the CRC-32 in the file"));
        }
        Ok(())
    }
}
