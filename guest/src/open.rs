//! Opening a snapshot: reading and checking all of it but the data.

use crate::codec::{BlockRef, Codec};
use crate::error::{Error, ErrorCode, Result};
use crate::footer::Footer;
use crate::metadata::{Document, Metadata};
use crate::storage::{ByteRange, ObjectInfo, Reader, Storage};
use crate::table::Table;

/// The first request for an object: footer and metadata are always in it, and
/// the table of a state of up to about 1.5 GiB (gzip).
const TAIL: u64 = 65_536;

/// The most that is asked of storage in one call.
const CHUNK: usize = 1 << 20;

/// How often a snapshot that is replaced while it is opened is opened anew.
const ATTEMPTS: u32 = 3;

/// A snapshot whose footer, table and metadata were read and found right.
pub(crate) struct OpenSnapshot {
    pub(crate) info: ObjectInfo,
    footer: Footer,
    table: Table,
    document: Document,
    /// The document as it was read: unknown fields, spaces and all.
    json: Vec<u8>,
    trailer: Vec<u8>,
    /// The object's last bytes, as they were read: all of it, if it is small.
    tail: Vec<u8>,
}

/// Reads to the end of a range that has at most `most` bytes.
pub(crate) fn read_all(reader: &mut impl Reader, most: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < most {
        let want = u32::try_from((most - bytes.len()).min(CHUNK)).unwrap_or(u32::MAX);
        let chunk = reader.read(want)?;
        if chunk.is_empty() {
            break;
        }
        if bytes.is_empty() {
            bytes = chunk;
        } else {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(bytes)
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

impl OpenSnapshot {
    /// Reads and checks everything but the data.
    pub(crate) fn open<S: Storage>(storage: &S, key: &str) -> Result<Self> {
        let mut reader = storage.open_read(key, ByteRange::Suffix(TAIL), None)?;
        let info = reader.info();
        let most = usize::try_from(info.size.min(TAIL)).unwrap_or(usize::MAX);
        let tail = read_all(&mut reader, most)?;
        drop(reader);
        if tail.len() != most {
            return Err(Error::new(ErrorCode::Io, format!("the storage gave {} bytes of the last {most}", tail.len())));
        }
        let Some(footer) = Footer::parse(&tail, info.size)? else {
            return Err(no_footer(storage, &info, &tail)?);
        };
        let trailing = footer.trailing_length();
        let (table, json) = if trailing <= tail.len() {
            footer.uncarry(&tail)?
        } else {
            let missing = trailing - tail.len();
            let span = ByteRange::Span { offset: footer.data, length: missing as u64 };
            let mut reader = storage.open_read(key, span, info.etag.as_deref())?;
            let mut bytes = read_all(&mut reader, missing)?;
            bytes.extend_from_slice(&tail);
            footer.uncarry(&bytes)?
        };
        let document = Document::parse(&json)?;
        if document.codec != footer.codec {
            return Err(Error::format("the metadata names another codec than the file has"));
        }
        let table = Table::parse(table, document.block_size)?;
        let trailer = document.codec.trailer(document.crc32.unwrap_or_default(), document.uncompressed_size);
        let data = table.data_length(document.codec, &trailer);
        if data != footer.data || data != document.compressed_size || table.state_size() != document.uncompressed_size {
            return Err(Error::format("the sizes in footer, block table and metadata do not agree"));
        }
        Ok(Self { info, footer, table, document, json, trailer, tail })
    }

    pub(crate) fn document(&self) -> &Document {
        &self.document
    }

    pub(crate) fn data_length(&self) -> u64 {
        self.footer.data
    }

    pub(crate) fn block_count(&self) -> u32 {
        u32::try_from(self.table.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = BlockRef> {
        self.table.blocks(self.document.codec, &self.trailer)
    }

    /// The whole object, if it is so small that opening it has read it all.
    pub(crate) fn take_whole_object(&mut self) -> Option<Vec<u8>> {
        (self.tail.len() as u64 == self.info.size).then(|| std::mem::take(&mut self.tail))
    }

    /// The bytes behind the data, as they have to be.
    pub(crate) fn trailing_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.footer.trailing_length());
        self.footer.carry(self.table.bytes(), &self.json, &mut bytes);
        bytes
    }

    pub(crate) fn metadata(&self) -> Metadata {
        self.document.clone().into_metadata(&self.info.key, self.footer.digest, self.info.etag.clone(), self.info.size)
    }
}

/// Says what an object without a footer is, as far as its first bytes tell.
fn no_footer<S: Storage>(storage: &S, info: &ObjectInfo, tail: &[u8]) -> Result<Error> {
    const MAGIC: &[u8] = b"PERSIST\0";
    let other = |what: &str| Error::new(ErrorCode::NotASnapshot, format!("not a snapshot: {what}"));
    if tail.is_empty() {
        return Ok(other("the file is empty"));
    }
    // The last place where a footer ends, if there is one before the end.
    let footer_end = tail.windows(MAGIC.len()).rposition(|window| window == MAGIC).map(|at| tail.len() - at);
    let head = if tail.len() as u64 == info.size {
        tail.get(..16.min(tail.len())).unwrap_or_default().to_vec()
    } else {
        let span = ByteRange::Span { offset: 0, length: 16 };
        read_all(&mut storage.open_read(&info.key, span, info.etag.as_deref())?, 16)?
    };
    let gzip = head.starts_with(Codec::Gzip.header());
    let zstd = head.starts_with(&0xFD2F_B528_u32.to_le_bytes());
    Ok(if (gzip || zstd) && footer_end.is_some() {
        Error::integrity("the file does not end with its footer: its last bytes are missing, changed, or too many")
    } else if gzip {
        Error::format("no footer at the end of the file: the snapshot was cut short")
    } else if zstd {
        other("no footer at the end of the zstd file, unless it was cut short")
    } else if head.starts_with(&[0x1f, 0x8b]) {
        other("a gzip file that Persist did not write")
    } else {
        other("the file is neither gzip nor zstd")
    })
}
