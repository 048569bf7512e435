//! Opening a snapshot: reading and checking all of it but the data.

use persist_model::error::UNCERTAIN;

use crate::codec::{BlockRef, Codec, zstd};
use crate::error::{Error, ErrorCode, Result};
use crate::footer::{self, Checked, Footer};
use crate::metadata::{Document, Metadata};
use crate::storage::{ByteRange, ObjectInfo, Reader, Storage, read_all};
use crate::table::Table;

/// The first request for an object: footer, seal and metadata are always in it,
/// and the table of a state of up to about 1.5 GiB (gzip).
pub(crate) const TAIL: u64 = 65_536;

/// The zeros that are looked through in one read.
const CHUNK: usize = 1 << 20;

/// How many zeros at the end of an object are looked through for what is before
/// them; a sparse file may have terabytes.
const MAX_ZEROS: u64 = 256 << 20;

/// The most zeros that a footer ends with: its digest, and what is behind it in
/// the carrier of gzip.
const ZEROS_OF_FOOTER: u64 = 64;

/// How often a snapshot that is replaced while it is opened is opened anew.
const ATTEMPTS: u32 = 3;

/// Reads a range that has to have exactly `length` bytes.
pub(crate) fn read_exact(reader: &mut impl Reader, length: usize) -> Result<Vec<u8>> {
    let bytes = read_all(reader, length)?;
    if bytes.len() == length { Ok(bytes) } else { Err(Error::short_read(bytes.len() as u64, length as u64)) }
}

/// Runs `open` again when the object changed between its requests.
pub(crate) fn until_stable<T>(mut open: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempt = 1;
    loop {
        match open() {
            Err(error) if error.code == ErrorCode::PreconditionFailed && attempt < ATTEMPTS => attempt += 1,
            opened => return opened,
        }
    }
}

/// What a snapshot says of itself: its footer, metadata and seal, read and
/// found right.
pub(crate) struct Head {
    pub(crate) info: ObjectInfo,
    pub(crate) footer: Footer,
    pub(crate) document: Document,
    /// The document as it was read, unknown fields, spaces and all; seal and root.
    checked: Checked,
    /// The object's last bytes, as they were read: all of it, if it is small.
    tail: Vec<u8>,
}

impl Head {
    /// Reads the last bytes of an object and what they say.
    pub(crate) fn open<S: Storage>(storage: &S, key: &str) -> Result<Self> {
        let (info, tail) = read_tail(storage, key)?;
        Self::of_tail(storage, info, tail)
    }

    /// What the last bytes of an object say, as many as [`TAIL`] or all of it.
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

    /// Reads what is left of an object: bytes may have been added behind its
    /// footer, or before it, or be missing there. A footer with both too many bytes
    /// before it and something after it may be part of the state, and is skipped.
    pub(crate) fn open_damaged<S: Storage>(storage: &S, info: &ObjectInfo, end_of_content: u64) -> Result<Option<Self>> {
        // A footer may end with zeros of its own.
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
            return Err(Error::format("the metadata names another codec than the file has"));
        }
        if document.compressed_size != footer.data {
            return Err(disagreeing_sizes());
        }
        Ok(Self { info, footer, document, checked, tail })
    }

    /// The table, read and found right.
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

    /// What stands behind the frames.
    pub(crate) fn trailer(&self) -> Vec<u8> {
        self.document.codec.trailer(self.document.crc32.unwrap_or_default(), self.document.uncompressed_size)
    }

    pub(crate) fn metadata(&self) -> Metadata {
        self.document.clone().into_metadata(&self.checked.root, &self.footer, &self.info)
    }

    /// What an error means that was met while the snapshot was read. A storage
    /// without etags can't be asked for the version that was opened: if another
    /// one is there now, the two were mixed.
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
        Error { retryable: true, ..Error::new(ErrorCode::PreconditionFailed, "the snapshot was replaced while it was read") }
    }
}

fn disagreeing_sizes() -> Error {
    Error::format("the sizes in footer, block table and metadata do not agree")
}

fn read_tail<S: Storage>(storage: &S, key: &str) -> Result<(ObjectInfo, Vec<u8>)> {
    let mut reader = storage.open_read(key, ByteRange::Suffix(TAIL), None)?;
    let info = reader.info();
    let tail = read_all(&mut reader, usize::try_from(info.size.min(TAIL)).unwrap_or(usize::MAX))?;
    Ok((info, tail))
}

/// Where an object ends but for the zeros at its end, which a crash of the
/// machine may have left in place of content.
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

/// A snapshot whose head and table were read and found right.
pub(crate) struct OpenSnapshot {
    pub(crate) head: Head,
    table: Table,
    trailer: Vec<u8>,
}

impl OpenSnapshot {
    /// Reads and checks everything but the data.
    pub(crate) fn open<S: Storage>(storage: &S, key: &str) -> Result<Self> {
        Self::from_head(storage, Head::open(storage, key)?)
    }

    /// Reads and checks the table too.
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

    /// The whole object, if it is so small that opening it has read it all.
    pub(crate) fn take_whole_object(&mut self) -> Option<Vec<u8>> {
        (self.head.tail.len() as u64 == self.head.info.size).then(|| std::mem::take(&mut self.head.tail))
    }

    /// The bytes behind the data, as they have to be.
    pub(crate) fn trailing_bytes(&self) -> Vec<u8> {
        let Head { footer, checked, .. } = &self.head;
        let mut bytes = Vec::with_capacity(footer.trailing_length());
        footer.carry(self.table.bytes(), &checked.metadata, &checked.seal, &mut bytes);
        bytes
    }

    pub(crate) fn metadata(&self) -> Metadata {
        self.head.metadata()
    }

    /// Whether a state of this SHA-256, and of this CRC-32 where the file has
    /// one, is the one that was saved.
    pub(crate) fn check_state(&self, content_hash: [u8; 32], crc32: u32) -> Result<()> {
        let document = self.document();
        let found = crate::hash::hex(&content_hash);
        if found != document.content_hash {
            return Err(Error::integrity("the state is not the one whose hash the metadata holds")
                .with("expected", &document.content_hash)
                .with("found", found));
        }
        if document.crc32.is_some_and(|expected| expected != crc32) {
            return Err(Error::integrity("the state's CRC-32 is not the one in the file"));
        }
        Ok(())
    }
}

/// Says what an object without a footer is, as far as its first bytes tell.
fn no_footer<S: Storage>(storage: &S, info: &ObjectInfo, tail: &[u8]) -> Result<Error> {
    let other = |what: &str| Error::new(ErrorCode::NotASnapshot, format!("not a snapshot: {what}"));
    let is_named = Codec::named_by(&info.key).is_some();
    if tail.is_empty() {
        return Ok(if is_named {
            Error::format("the file is empty: the snapshot of this name was cut short")
        } else {
            other("the file is empty")
        });
    }
    let has_footer = footer::has_begun(tail);
    let head = if tail.len() as u64 == info.size {
        tail.get(..16.min(tail.len())).unwrap_or_default().to_vec()
    } else {
        let span = ByteRange::Span { offset: 0, length: 16 };
        read_all(&mut storage.open_read(&info.key, span, info.etag.as_deref())?, 16)?
    };
    let is_snapshot = is_beginning(&head) || is_named && (has_footer || is_lost_beginning(&head));
    Ok(if !is_snapshot {
        match head.get(..4) {
            Some([0x1f, 0x8b, ..]) => other("a gzip file that Persist did not write"),
            Some(magic) if magic == zstd::MAGIC => other("a zstd file that Persist did not write"),
            _ => other("the file is neither gzip nor zstd"),
        }
    } else if has_footer {
        Error::integrity("the file does not end with its footer: its last bytes are missing, changed, or too many")
    } else if head.starts_with(Codec::Gzip.header()) {
        // Go, flate2 and Java write the same header.
        let (name, value) = UNCERTAIN;
        Error::format("no footer at the end of the file: the snapshot was cut short, or another program wrote it").with(name, value)
    } else if is_beginning(&head) {
        Error::format("no footer at the end of the file: the snapshot was cut short")
    } else {
        Error::format("next to nothing is left of the file: the snapshot of this name was cut short, or zeroed")
    })
}

/// Whether an object that begins like this may be a snapshot: in gzip by a
/// header that few others write, in zstd by one that nobody else does. Where the
/// object ends within it, it goes on with zeros.
fn is_beginning(head: &[u8]) -> bool {
    let mut header = [0; zstd::HEADER];
    for (to, from) in header.iter_mut().zip(head) {
        *to = *from;
    }
    head.starts_with(Codec::Gzip.header()) || zstd::block_length(&header).is_some()
}

/// Whether these first bytes are at most the beginning of a beginning, and zeros
/// behind it: what a crash leaves of a file. Only the name tells then what it was.
fn is_lost_beginning(head: &[u8]) -> bool {
    let end = head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let left = head.get(..end).unwrap_or_default();
    Codec::Gzip.header().starts_with(left) || zstd::header(0).starts_with(left)
}
