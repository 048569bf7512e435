//! Salvage: what can still be had of a snapshot that was cut short or damaged,
//! from its front up to the break.
//!
//! While metadata and table are whole, blocks come out checked, up to the first
//! that is not right. Without them the data is decompressed for what it is
//! worth; gzip then has nothing that shows a changed byte before its end.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};

use crate::codec::{self, Codec, MAX_BLOCK_SIZE, zstd};
use crate::error::{Error, ErrorCode, Result};
use crate::metadata::Metadata;
use crate::restore::Restorer;
use crate::storage::{ByteRange, Reader, Storage};

/// The most that is asked of storage, and decompressed, at a time.
const CHUNK: usize = 1 << 16;

/// What a salvager found; complete once it gave its last byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the snapshot says of itself, where that was readable.
    pub metadata: Option<Metadata>,
    /// The codec.
    pub codec: Codec,
    /// Bytes of state that were given out.
    pub salvaged_size: u64,
    /// How many of them were checked against the SHA-256 of their frame.
    pub checked_size: u64,
    /// Where in the object it breaks, in bytes from its beginning; none if the
    /// end of the state was reached.
    pub break_offset: Option<u64>,
    /// What was wrong there, or with metadata and table.
    pub reason: Option<Error>,
}

/// A damaged snapshot being salvaged. Its output is unverified as a whole.
pub struct Salvager<R> {
    key: String,
    source: SourceKind<R>,
    report: Report,
    ended: bool,
}

enum SourceKind<R> {
    /// Metadata and table are whole.
    Checked(Box<Restorer<R>>),
    Gzip(Box<GzipSource<R>>),
    Zstd(Box<ZstdSource<R>>),
}

/// Where the file is not what it has to be.
struct Break {
    offset: u64,
    reason: Error,
}

/// The next bytes of the state, none at its end, or why there are no more.
type Salvaged = std::result::Result<Vec<u8>, Break>;

impl<R: Reader> Salvager<R> {
    /// Opens what is left of a snapshot.
    pub fn open<S: Storage<Reader = R>>(storage: &S, key: &str) -> Result<Self> {
        Self::open_inner(storage, key).map_err(|error| error.at(key))
    }

    fn open_inner<S: Storage<Reader = R>>(storage: &S, key: &str) -> Result<Self> {
        let salvager = |source, codec, metadata, reason| {
            let report = Report { metadata, codec, salvaged_size: 0, checked_size: 0, break_offset: None, reason };
            Self { key: key.to_owned(), source, report, ended: false }
        };
        let reason = match Restorer::open(storage, key) {
            Ok(restorer) => {
                let metadata = restorer.metadata();
                let codec = metadata.compression_algorithm;
                return Ok(salvager(SourceKind::Checked(Box::new(restorer)), codec, Some(metadata), None));
            }
            Err(error) if is_about_content(error.code) => error,
            Err(error) => return Err(error),
        };
        let mut input = Input::new(storage.open_read(key, ByteRange::All, None)?);
        let head = input.peek(Codec::Gzip.header().len())?;
        if head == Codec::Gzip.header() {
            input.skip(Codec::Gzip.header().len());
            let source = GzipSource { input, inflate: Decompress::new(false), crc32: 0, size: 0 };
            Ok(salvager(SourceKind::Gzip(Box::new(source)), Codec::Gzip, None, Some(reason)))
        } else if head.starts_with(&ZSTD_MAGIC) {
            let source = ZstdSource { input, block: Vec::new(), given: 0, broken: None };
            Ok(salvager(SourceKind::Zstd(Box::new(source)), Codec::Zstd, None, Some(reason)))
        } else {
            Err(reason)
        }
    }

    /// The next bytes of the state: none at the break or the end. An error is
    /// one of the storage.
    pub fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        self.read_inner(max).map_err(|error| error.at(&self.key))
    }

    fn read_inner(&mut self, max: u32) -> Result<Vec<u8>> {
        if max == 0 {
            return Err(Error::argument("a read of no bytes"));
        }
        if self.ended {
            return Ok(Vec::new());
        }
        let (next, checked) = match &mut self.source {
            SourceKind::Checked(restorer) => match restorer.read(max) {
                Ok(chunk) => (Ok(chunk), true),
                Err(reason) if is_about_content(reason.code) => (Err(Break { offset: restorer.position(), reason }), true),
                Err(error) => return Err(error),
            },
            SourceKind::Gzip(source) => (source.read(max)?, false),
            SourceKind::Zstd(source) => (source.read(max)?, false),
        };
        match next {
            Ok(chunk) => {
                self.ended = chunk.is_empty();
                self.report.salvaged_size += chunk.len() as u64;
                self.report.checked_size += if checked { chunk.len() as u64 } else { 0 };
                Ok(chunk)
            }
            Err(Break { offset, reason }) => {
                self.ended = true;
                self.report.break_offset = Some(offset);
                self.report.reason.get_or_insert(reason);
                Ok(Vec::new())
            }
        }
    }

    /// What was found so far; whole once `read` gave no more.
    pub fn report(&self) -> Report {
        self.report.clone()
    }
}

/// Whether an error tells of the object's bytes, not of reaching them.
fn is_about_content(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Integrity | ErrorCode::NotASnapshot | ErrorCode::InvalidFormat | ErrorCode::LimitExceeded)
}

/// The object from its front, with bytes that are looked at before they are used.
struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Bytes of the object that are gone from the buffer.
    position: u64,
    ended: bool,
}

impl<R: Reader> Input<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), position: 0, ended: false }
    }

    /// The next bytes, `length` of them unless the object ends before.
    fn peek(&mut self, length: usize) -> Result<&[u8]> {
        while self.buffer.len() < length && !self.ended {
            let chunk = self.reader.read(u32::try_from(CHUNK).unwrap_or(u32::MAX))?;
            self.ended = chunk.is_empty();
            self.buffer.extend_from_slice(&chunk);
        }
        Ok(self.buffer.get(..length).unwrap_or(&self.buffer))
    }

    fn skip(&mut self, length: usize) {
        let length = length.min(self.buffer.len());
        self.buffer.drain(..length);
        self.position += length as u64;
    }
}

struct GzipSource<R> {
    input: Input<R>,
    inflate: Decompress,
    crc32: u32,
    size: u64,
}

impl<R: Reader> GzipSource<R> {
    fn read(&mut self, max: u32) -> Result<Salvaged> {
        let mut out = Vec::with_capacity(CHUNK.min(max as usize));
        loop {
            let rest = self.input.peek(1)?;
            if rest.is_empty() {
                return Ok(Err(self.broken("the file ends before the state does")));
            }
            let before = self.inflate.total_in();
            let status = self.inflate.decompress_vec(rest, &mut out, FlushDecompress::None);
            self.input.skip(usize::try_from(self.inflate.total_in() - before).unwrap_or(usize::MAX));
            match status {
                Ok(_) if !out.is_empty() => {
                    self.crc32 = codec::crc32(self.crc32, &out);
                    self.size += out.len() as u64;
                    return Ok(Ok(out));
                }
                Ok(Status::StreamEnd) => return self.end(),
                Ok(_) if self.inflate.total_in() == before => return Ok(Err(self.broken("the compressed data stops"))),
                Ok(_) => {}
                Err(error) => return Ok(Err(self.broken(&format!("the compressed data is damaged: {error}")))),
            }
        }
    }

    /// Behind the final block stand CRC-32 and size of all that was read.
    #[allow(clippy::cast_possible_truncation, reason = "RFC 1952: ISIZE is the size modulo 2^32")]
    fn end(&mut self) -> Result<Salvaged> {
        let expected = [self.crc32.to_le_bytes(), (self.size as u32).to_le_bytes()].concat();
        Ok(if self.input.peek(8)? == expected { Ok(Vec::new()) } else { Err(self.broken("CRC-32 or size of the state are wrong")) })
    }

    fn broken(&self, what: &str) -> Break {
        Break { offset: self.input.position, reason: Error::integrity(what) }
    }
}

/// The magic number of a zstd frame, as it is stored.
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// What a skippable frame begins with, but for its first byte: 5 and a digit.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// The most that the header of a zstd frame takes, in bytes.
const ZSTD_HEADER: usize = 18;

struct ZstdSource<R> {
    input: Input<R>,
    /// A decompressed block, and how much of it was given out.
    block: Vec<u8>,
    given: usize,
    /// The break behind that block.
    broken: Option<Break>,
}

impl<R: Reader> ZstdSource<R> {
    fn read(&mut self, max: u32) -> Result<Salvaged> {
        if self.given == self.block.len() {
            self.block.clear();
            self.given = 0;
            if self.broken.is_none() {
                self.next_block()?;
            }
            if self.block.is_empty()
                && let Some(broken) = self.broken.take()
            {
                return Ok(Err(broken));
            }
        }
        let rest = self.block.get(self.given..).unwrap_or_default();
        let now = rest.get(..max as usize).unwrap_or(rest).to_vec();
        self.given += now.len();
        Ok(Ok(now))
    }

    /// Decompresses the next frame. At the end of the data there is no block
    /// and no break; a frame that is cut short still gives what it has.
    fn next_block(&mut self) -> Result<()> {
        let start = self.input.position;
        let head = self.input.peek(ZSTD_HEADER)?;
        if head.get(1..4) == Some(&ZSTD_SKIPPABLE) && head.first().is_some_and(|first| first >> 4 == 5) {
            return Ok(());
        }
        if head.is_empty() {
            self.broken = Some(Break { offset: start, reason: Error::integrity("the file ends before the state does") });
            return Ok(());
        }
        let header = zrip::frame::header::parse_frame_header(head).ok();
        let size = header.as_ref().and_then(|header| header.frame_content_size).and_then(|size| usize::try_from(size).ok());
        let (Some(header), Some(size)) = (header, size.filter(|size| *size <= MAX_BLOCK_SIZE as usize)) else {
            self.broken = Some(Break { offset: start, reason: Error::integrity("no frame of a block begins here") });
            return Ok(());
        };
        let most = Codec::max_frame_length(u32::try_from(size).unwrap_or(u32::MAX)) as usize;
        let mut length = header.header_size;
        let (frame, cut) = loop {
            let frame = self.input.peek(most)?;
            match zstd::next_block(frame, length) {
                Some((next, false)) => length = next,
                Some((end, true)) => break (frame.get(..end).unwrap_or(frame), frame.len() < end),
                None => break (frame, true),
            }
        };
        let length = frame.len();
        let mut decoder = zrip::FrameDecoder::with_limit(frame, size);
        let decoded = decoder.read_to_end(&mut self.block);
        self.input.skip(length);
        if decoded.is_ok() && self.block.len() == size {
            return Ok(());
        }
        self.broken = Some(if cut {
            Break { offset: self.input.position, reason: Error::integrity("the file ends before the state does") }
        } else {
            // What came out before the checksum said no is worth nothing.
            self.block.clear();
            Break { offset: start, reason: Error::integrity("a frame is damaged") }
        });
        Ok(())
    }
}
