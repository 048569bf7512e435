//! Salvage: what can still be had of a snapshot that was cut short or damaged.
//!
//! While metadata and table are whole, every block whose frame is whole comes
//! out checked, and what lies between is reported as holes. Without them, or where
//! no block is whole, the data is decompressed for what it is worth, from its front
//! up to the break; gzip then has nothing that shows a changed byte before its end.
//! Zeros at the end of a file are what a crash leaves in place of content, and are
//! taken for lost.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use sha2::{Digest, Sha256};

use crate::carrier::{self, Section};
use crate::codec::{self, BlockRef, Codec, Decoder, zstd};
use crate::error::{Error, ErrorCode, Result};
use crate::footer::MAX_METADATA;
use crate::metadata::{Document, Metadata};
use crate::open::{Head, OpenSnapshot, end_of_content, until_stable};
use crate::storage::{ByteRange, ObjectInfo, Reader, Storage, read_all};
use crate::table::{MAX_BLOCKS, ROW};

/// The most that is asked of storage, and decompressed, at a time.
const CHUNK: usize = 1 << 16;

/// No frame has so many zeros in a row: 8 MiB of one byte are 8 KiB of them. A
/// sparse file may have terabytes.
const MAX_ZEROS: usize = 16 << 10;

/// The most holes that a report lists.
const MAX_HOLES: usize = 1000;

/// A part of the state that could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Where in the state the missing bytes belong.
    pub state_offset: u64,
    /// How many bytes are missing.
    pub length: u64,
    /// Where in the object they should be.
    pub object_offset: u64,
}

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
    /// Bytes of state that are known to be missing.
    pub missing_size: u64,
    /// Where they belong, in the state's order: the first 1,000 places.
    pub holes: Vec<Hole>,
    /// Where in the object it breaks first, in bytes from its beginning; none if all
    /// of the state came out, as its content hash shows, or, without metadata, gzip's
    /// CRC-32 and size.
    pub break_offset: Option<u64>,
    /// What was wrong there, or with metadata and table.
    pub reason: Option<Error>,
}

impl Report {
    fn new(codec: Codec, metadata: Option<Metadata>, reason: Option<Error>) -> Self {
        let (holes, break_offset) = (Vec::new(), None);
        Self { metadata, codec, salvaged_size: 0, checked_size: 0, missing_size: 0, holes, break_offset, reason }
    }

    fn add_break(&mut self, Break { offset, reason }: Break) {
        self.break_offset.get_or_insert(offset);
        self.reason.get_or_insert(reason);
    }

    /// Notes bytes that are missing; those behind each other are one hole.
    fn add_hole(&mut self, hole: Hole) {
        self.missing_size += hole.length;
        if let Some(last) = self.holes.last_mut()
            && last.state_offset + last.length == hole.state_offset
        {
            last.length += hole.length;
        } else if self.holes.len() < MAX_HOLES {
            self.holes.push(hole);
        }
    }
}

/// A damaged snapshot being salvaged. Its output is unverified as a whole.
pub struct Salvager<S: Storage> {
    key: String,
    source: SourceKind<S>,
    report: Report,
    ended: bool,
    /// A decoded block, and how much of it was given out.
    block: Vec<u8>,
    given: usize,
    /// Of all blocks that were decoded.
    content_hash: Sha256,
}

enum SourceKind<S: Storage> {
    /// Metadata and table are whole.
    Blocks(Box<BlockSource<S>>),
    Gzip(Box<GzipSource<S::Reader>>),
    Zstd(Box<ZstdSource<S::Reader>>),
}

/// Where the file is not what it has to be.
struct Break {
    offset: u64,
    reason: Error,
}

/// What a source has next.
enum Next {
    /// Bytes of the state.
    Bytes,
    /// None here, but perhaps later.
    Hole(Hole, Break),
    /// The end of the data, at this byte of the object.
    End { offset: u64, proof: Proof },
    /// No more bytes can be had.
    Break(Break),
}

/// What shows that all of a state was read, where the metadata is lost.
enum Proof {
    /// Nothing.
    None,
    /// CRC-32 and size were right.
    Checksum,
    /// It has to have this SHA-256, by a document that stands behind the data and
    /// could not be checked itself.
    ContentHash(String),
}

impl<S: Storage> Salvager<S> {
    fn new(key: &str, source: SourceKind<S>, report: Report) -> Self {
        let (key, block, content_hash) = (key.to_owned(), Vec::new(), Sha256::new());
        Self { key, source, report, ended: false, block, given: 0, content_hash }
    }

    /// Opens what is left of a snapshot.
    pub fn open(storage: &S, key: &str) -> Result<Self> {
        until_stable(|| Self::open_inner(storage, key)).map_err(|error| error.at(key))
    }

    fn open_inner(storage: &S, key: &str) -> Result<Self> {
        let salvager = |source, report| Self::new(key, source, report);
        let reason = match OpenSnapshot::open(storage, key) {
            Ok(snapshot) => {
                let report = Report::new(snapshot.document().codec, Some(snapshot.metadata()), None);
                let source = BlockSource::new(storage, snapshot, 0);
                return Ok(salvager(SourceKind::Blocks(Box::new(source)), report));
            }
            Err(error) if is_about_content(error.code) => error,
            Err(error) => return Err(error),
        };
        let info = storage.stat(key)?;
        let end = end_of_content(storage, &info)?;
        let head = Head::open_damaged(storage, &info, end)?;
        let metadata = head.as_ref().map(Head::metadata);
        if let Some(head) = head {
            // By as much as bytes are missing before the table, or too many, blocks
            // behind that place are elsewhere.
            let shift = i128::from(head.info.size) - i128::from(head.footer.declared_size());
            let (codec, end) = (head.document.codec, head.info.size);
            let reason = match info.size - end {
                0 => reason.clone(),
                more => Error::integrity(format!("{more} bytes follow the end of the snapshot, at byte {end}")),
            };
            match OpenSnapshot::from_head(storage, head) {
                Ok(snapshot) => {
                    let source = BlockSource::new(storage, snapshot, shift);
                    return Ok(salvager(SourceKind::Blocks(Box::new(source)), Report::new(codec, metadata, Some(reason))));
                }
                Err(error) if is_about_content(error.code) => {}
                Err(error) => return Err(error),
            }
        }
        Self::open_front(storage, &info, end, metadata, reason)
    }

    /// Reads what is left from the front on, without a table.
    fn open_front(storage: &S, info: &ObjectInfo, end: u64, metadata: Option<Metadata>, reason: Error) -> Result<Self> {
        let salvager = |source, report| Self::new(&info.key, source, report);
        let mut input = Input::new(storage.open_read(&info.key, ByteRange::All, info.etag.as_deref())?, end, info.size);
        let beginning = input.peek(zstd::HEADER)?;
        if beginning.starts_with(Codec::Gzip.header()) {
            input.skip(Codec::Gzip.header().len());
            let source = GzipSource { input, inflate: Decompress::new(false), crc32: 0, size: 0 };
            Ok(salvager(SourceKind::Gzip(Box::new(source)), Report::new(Codec::Gzip, metadata, Some(reason))))
        } else if beginning.starts_with(&zstd::MAGIC) {
            let source = ZstdSource { input, broken: None };
            Ok(salvager(SourceKind::Zstd(Box::new(source)), Report::new(Codec::Zstd, metadata, Some(reason))))
        } else {
            Err(reason)
        }
    }

    /// The next bytes of the state: none at the end of what there is, or where
    /// `max` is 0. An error is one of the storage.
    pub fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        self.read_inner(max as usize).map_err(|error| error.at(&self.key))
    }

    fn read_inner(&mut self, max: usize) -> Result<Vec<u8>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        while self.given == self.block.len() {
            if self.ended {
                return Ok(Vec::new());
            }
            self.next_block()?;
        }
        let rest = self.block.get(self.given..).unwrap_or_default();
        let now = rest.get(..max).unwrap_or(rest).to_vec();
        self.given += now.len();
        self.report.salvaged_size += now.len() as u64;
        if matches!(self.source, SourceKind::Blocks(_)) {
            self.report.checked_size += now.len() as u64;
        }
        Ok(now)
    }

    fn next_block(&mut self) -> Result<()> {
        self.block.clear();
        self.given = 0;
        let next = match &mut self.source {
            SourceKind::Blocks(source) => source.next(&mut self.block)?,
            SourceKind::Gzip(source) => source.next(&mut self.block)?,
            SourceKind::Zstd(source) => source.next(&mut self.block)?,
        };
        match next {
            Next::Bytes => self.content_hash.update(&self.block),
            Next::Hole(hole, found) => {
                self.report.add_hole(hole);
                self.report.add_break(found);
            }
            Next::End { .. } if self.has_nothing() => self.read_from_the_front()?,
            Next::End { offset, proof } => {
                let found = crate::hash::hex(&self.content_hash.finalize_reset());
                let is_whole = match (&self.report.metadata, proof) {
                    (Some(metadata), _) => metadata.content_hash == found,
                    (None, Proof::ContentHash(expected)) => expected == found,
                    (None, Proof::Checksum) => true,
                    (None, Proof::None) => false,
                };
                if !is_whole {
                    self.report.add_break(Break { offset, reason: Error::integrity("this is not the whole state that was saved") });
                }
                self.ended = true;
            }
            Next::Break(found) => {
                self.report.add_break(found);
                self.ended = true;
            }
        }
        Ok(())
    }

    /// Whether there is a table, and not one of its blocks.
    fn has_nothing(&self) -> bool {
        matches!(self.source, SourceKind::Blocks(_)) && self.report.salvaged_size == 0 && self.report.missing_size > 0
    }

    /// A table of which no block is there may be that of another snapshot, which was
    /// appended; or all of them are damaged, and the codec gets something all the same.
    fn read_from_the_front(&mut self) -> Result<()> {
        let SourceKind::Blocks(source) = &self.source else { return Ok(()) };
        let storage = source.storage.clone();
        let info = storage.stat(&self.key)?;
        let end = end_of_content(&storage, &info)?;
        let reason = self.report.reason.clone().unwrap_or_else(|| Error::integrity("no block of the table is there"));
        // Of another snapshot, if its sizes are not those of this object.
        let is_of_this = source.shift == 0;
        let metadata = self.report.metadata.clone().filter(|_| is_of_this);
        match Self::open_front(&storage, &info, end, metadata, reason) {
            Ok(front) => *self = front,
            Err(error) if is_about_content(error.code) => self.ended = true,
            Err(error) => return Err(error),
        }
        Ok(())
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

/// How many block references are made of the table at a time.
const BATCH: usize = 256;

/// The blocks of a table that is whole, each for itself.
struct BlockSource<S> {
    storage: S,
    snapshot: OpenSnapshot,
    /// Bytes that are too many somewhere before the table, or missing if below 0.
    shift: i128,
    batch: Vec<BlockRef>,
    next: usize,
    state_offset: u64,
    decoder: Decoder,
}

impl<S: Storage> BlockSource<S> {
    fn new(storage: &S, snapshot: OpenSnapshot, shift: i128) -> Self {
        let (batch, decoder) = (Vec::new(), Decoder::default());
        Self { storage: storage.clone(), snapshot, shift, batch, next: 0, state_offset: 0, decoder }
    }

    fn next(&mut self, block: &mut Vec<u8>) -> Result<Next> {
        let in_batch = self.next % BATCH;
        if in_batch == 0 {
            self.batch = self.snapshot.blocks().skip(self.next).take(BATCH).collect();
        }
        let Some(wanted) = self.batch.get(in_batch) else {
            return Ok(Next::End { offset: self.snapshot.head.footer.data, proof: Proof::None });
        };
        // What stands around the frames holds nothing of the state.
        let frame =
            BlockRef { offset: wanted.offset + wanted.prefix.len() as u64, prefix: Vec::new(), suffix: Vec::new(), ..wanted.clone() };
        let mut reason = None;
        let shifted = u64::try_from(i128::from(frame.offset) + self.shift).ok().filter(|shifted| *shifted != frame.offset);
        for offset in [Some(frame.offset), shifted].into_iter().flatten() {
            let span = ByteRange::Span { offset, length: frame.slice_length() as u64 };
            let info = &self.snapshot.head.info;
            if offset >= info.size {
                continue;
            }
            let slice = read_all(&mut self.storage.open_read(&info.key, span, info.etag.as_deref())?, frame.slice_length())?;
            // Bytes that are not there are as good as changed ones.
            let decoded = match slice.len() == frame.slice_length() {
                true => self.decoder.decode(&frame, &slice, block),
                false => Err(Error::integrity(format!("a frame is {} bytes long instead of {}", slice.len(), frame.slice_length()))),
            };
            match decoded {
                Ok(()) => {
                    self.next += 1;
                    self.state_offset += u64::from(frame.length);
                    return Ok(Next::Bytes);
                }
                Err(error) if is_about_content(error.code) => reason = reason.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        block.clear();
        let hole = Hole { state_offset: self.state_offset, length: u64::from(frame.length), object_offset: wanted.offset };
        let reason = reason.unwrap_or_else(|| Error::integrity("a frame is missing"));
        let found = Break { offset: wanted.offset, reason };
        self.next += 1;
        self.state_offset += u64::from(frame.length);
        Ok(Next::Hole(hole, found))
    }
}

/// The object from its front up to where its content ends, with bytes that are
/// looked at before they are used.
struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Bytes of the object that are gone from the buffer.
    position: u64,
    /// Where the content ends, and behind some zeros the object.
    end: u64,
    size: u64,
    ended: bool,
}

impl<R: Reader> Input<R> {
    fn new(reader: R, end: u64, size: u64) -> Self {
        Self { reader, buffer: Vec::new(), position: 0, end, size, ended: false }
    }

    /// The next bytes, `length` of them unless the content ends before.
    fn peek(&mut self, length: usize) -> Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let length = length.min(left);
        // Zeros are looked behind before they are taken for content.
        while (self.buffer.len() < length || self.buffer.ends_with(&[0; 64])) && !self.ended {
            let chunk = self.reader.read(u32::try_from(CHUNK).unwrap_or(u32::MAX))?;
            self.ended = chunk.is_empty();
            self.buffer.extend_from_slice(&chunk);
            let kept = self.buffer.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if self.buffer.len() - kept >= MAX_ZEROS {
                self.buffer.truncate(kept);
                self.end = self.position + kept as u64;
                self.ended = true;
            }
        }
        Ok(self.buffer.get(..length).unwrap_or(&self.buffer))
    }

    /// All that is in the buffer of the content, at least a byte unless it ends.
    fn peek_some(&mut self) -> Result<&[u8]> {
        self.peek(1)?;
        self.peek(self.buffer.len())
    }

    /// Takes the zeros at the end for content too.
    fn include_zeros(&mut self) {
        self.end = self.size;
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
    fn next(&mut self, block: &mut Vec<u8>) -> Result<Next> {
        block.reserve(CHUNK);
        loop {
            let rest = self.input.peek_some()?;
            if rest.is_empty() {
                return Ok(Next::Break(self.broken("the file ends before the state does")));
            }
            let before = self.inflate.total_in();
            let status = self.inflate.decompress_vec(rest, block, FlushDecompress::None);
            self.input.skip(usize::try_from(self.inflate.total_in() - before).unwrap_or(usize::MAX));
            match status {
                Ok(_) if !block.is_empty() => {
                    self.crc32 = codec::crc32(self.crc32, block);
                    self.size += block.len() as u64;
                    return Ok(Next::Bytes);
                }
                Ok(Status::StreamEnd) => return self.end(),
                Ok(_) if self.inflate.total_in() == before => return Ok(Next::Break(self.broken("the compressed data stops"))),
                Ok(_) => {}
                Err(error) => return Ok(Next::Break(self.broken(&format!("the compressed data is damaged: {error}")))),
            }
        }
    }

    /// Behind the final block stand CRC-32 and size of all that was read.
    #[allow(clippy::cast_possible_truncation, reason = "RFC 1952: ISIZE is the size modulo 2^32")]
    fn end(&mut self) -> Result<Next> {
        let expected = [self.crc32.to_le_bytes(), (self.size as u32).to_le_bytes()].concat();
        self.input.include_zeros();
        let offset = self.input.position;
        Ok(if self.input.peek(8)? == expected {
            Next::End { offset, proof: Proof::Checksum }
        } else {
            Next::Break(self.broken("CRC-32 or size of the state are wrong"))
        })
    }

    fn broken(&self, what: &str) -> Break {
        Break { offset: self.input.position, reason: Error::integrity(what) }
    }
}

/// What a skippable frame begins with, but for its first byte: 5 and a digit.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

struct ZstdSource<R> {
    input: Input<R>,
    /// The break behind the block that was given out.
    broken: Option<Break>,
}

impl<R: Reader> ZstdSource<R> {
    fn next(&mut self, block: &mut Vec<u8>) -> Result<Next> {
        if let Some(broken) = self.broken.take() {
            return Ok(Next::Break(broken));
        }
        let start = self.input.position;
        let head = self.input.peek(zstd::HEADER)?;
        if head.get(1..4) == Some(&ZSTD_SKIPPABLE) && head.first().is_some_and(|first| first >> 4 == 5) {
            // Frames before it may be gone without a trace.
            let proof = self.content_hash()?.map_or(Proof::None, Proof::ContentHash);
            return Ok(Next::End { offset: start, proof });
        }
        let broken = |offset, what: &str| Break { offset, reason: Error::integrity(what) };
        if head.is_empty() {
            return Ok(Next::Break(broken(start, "the file ends before the state does")));
        }
        let Some(size) = zstd::block_length(head) else {
            return Ok(Next::Break(broken(start, "no frame of a block begins here")));
        };
        let most = Codec::max_frame_length(size) as usize;
        let mut length = zstd::HEADER;
        let (frame, cut) = loop {
            let frame = self.input.peek(most)?;
            match zstd::next_block(frame, length) {
                Some((next, false)) => length = next,
                Some((end, true)) => break (frame.get(..end).unwrap_or(frame), frame.len() < end),
                None => break (frame, true),
            }
        };
        let length = frame.len();
        let decoded = zrip::FrameDecoder::with_limit(frame, size as usize).read_to_end(block);
        self.input.skip(length);
        if decoded.is_ok() && block.len() == size as usize {
            let end = Next::End { offset: self.input.position, proof: Proof::None };
            return Ok(if size == 0 { end } else { Next::Bytes });
        }
        if !cut {
            // What came out before the checksum said no is worth nothing.
            block.clear();
            return Ok(Next::Break(broken(start, "a frame is damaged")));
        }
        self.broken = Some(broken(self.input.position, "the file ends before the state does"));
        Ok(Next::Bytes)
    }
    /// The content hash in the document behind the table, if both are there.
    fn content_hash(&mut self) -> Result<Option<String>> {
        for (section, most) in [(Section::Table, MAX_BLOCKS as usize * ROW), (Section::Metadata, MAX_METADATA)] {
            let Some(length) = carrier::zstd_length(section, self.input.peek(carrier::ZSTD_OVERHEAD)?) else { return Ok(None) };
            if length > most {
                return Ok(None);
            }
            self.input.skip(carrier::ZSTD_OVERHEAD);
            if section == Section::Metadata {
                let json = self.input.peek(length)?;
                let document = (json.len() == length).then(|| Document::parse(json));
                return Ok(document.and_then(Result::ok).map(|document| document.content_hash));
            }
            let mut left = length;
            while left > 0 {
                let now = self.input.peek(left.min(CHUNK))?.len();
                if now == 0 {
                    return Ok(None);
                }
                self.input.skip(now.min(left));
                left = left.saturating_sub(now);
            }
        }
        Ok(None)
    }
}
