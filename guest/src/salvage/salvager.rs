//! Salvages a snapshot: by its table if that is whole, otherwise from its front.

use sha2::{Digest, Sha256};

use super::blocks::BlockSource;
use super::gzip::GzipSource;
use super::input::Input;
use super::report::{Break, Report};
use super::source::{Next, Proof, is_about_content};
use super::zstd::ZstdSource;
use crate::codec::{Codec, zstd};
use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::open::{Head, OpenSnapshot, end_of_content, until_stable};
use crate::storage::{ByteRange, ObjectInfo, Storage};

/// A damaged snapshot being salvaged. The state it returns is not verified as a whole.
pub struct Salvager<S: Storage> {
    key: String,
    source: Source<S>,
    report: Report,
    ended: bool,
    block: Vec<u8>,
    /// How much of the decoded block was returned.
    given: usize,
    /// The hash of all decoded blocks.
    content_hash: Sha256,
}

enum Source<S: Storage> {
    /// Metadata and table are whole.
    Blocks(Box<BlockSource<S>>),
    Gzip(Box<GzipSource<S::Reader>>),
    Zstd(Box<ZstdSource<S::Reader>>),
}

impl<S: Storage> Salvager<S> {
    fn new(key: &str, source: Source<S>, report: Report) -> Self {
        let (key, block, content_hash) = (key.to_owned(), Vec::new(), Sha256::new());
        Self { key, source, report, ended: false, block, given: 0, content_hash }
    }

    /// Opens a damaged snapshot.
    pub fn open(storage: &S, key: &str) -> Result<Self> {
        until_stable(|| Self::open_inner(storage, key)).map_err(|error| error.at(key))
    }

    fn open_inner(storage: &S, key: &str) -> Result<Self> {
        let salvager = |source, report| Self::new(key, source, report);
        let reason = match OpenSnapshot::open(storage, key) {
            Ok(snapshot) => {
                let report = Report::new(snapshot.document().codec, Some(snapshot.metadata()), None);
                let source = BlockSource::new(storage, snapshot, 0);
                return Ok(salvager(Source::Blocks(Box::new(source)), report));
            }
            Err(error) if is_about_content(error.code) => error,
            Err(error) => return Err(error),
        };
        let info = storage.stat(key)?;
        let end = end_of_content(storage, &info)?;
        let head = Head::open_damaged(storage, &info, end)?;
        let metadata = head.as_ref().map(Head::metadata);
        if let Some(head) = head {
            // Bytes that were added or lost before the table shift all blocks after them.
            let shift = i128::from(head.info.size) - i128::from(head.footer.declared_size());
            let (codec, end) = (head.document.codec, head.info.size);
            let reason = match info.size - end {
                0 => reason.clone(),
                more => Error::integrity(format!("{more} bytes follow the end of the snapshot (at byte {end})")),
            };
            match OpenSnapshot::from_head(storage, head) {
                Ok(snapshot) => {
                    let source = BlockSource::new(storage, snapshot, shift);
                    return Ok(salvager(Source::Blocks(Box::new(source)), Report::new(codec, metadata, Some(reason))));
                }
                Err(error) if is_about_content(error.code) => {}
                Err(error) => return Err(error),
            }
        }
        Self::open_front(storage, &info, end, metadata, reason)
    }

    /// Reads from the front, without a table.
    fn open_front(storage: &S, info: &ObjectInfo, end: u64, metadata: Option<Metadata>, reason: Error) -> Result<Self> {
        let salvager = |source, report| Self::new(&info.key, source, report);
        let mut input = Input::new(storage.open_read(&info.key, ByteRange::All, info.etag.as_deref())?, end, info.size);
        let beginning = input.peek(zstd::HEADER)?;
        if beginning.starts_with(Codec::Gzip.header()) {
            let source = GzipSource::new(input);
            Ok(salvager(Source::Gzip(Box::new(source)), Report::new(Codec::Gzip, metadata, Some(reason))))
        } else if beginning.starts_with(&zstd::MAGIC) {
            let source = ZstdSource::new(input);
            Ok(salvager(Source::Zstd(Box::new(source)), Report::new(Codec::Zstd, metadata, Some(reason))))
        } else {
            Err(reason)
        }
    }

    /// Returns the next bytes of the state: none at the end of what could be salvaged, or
    /// if `max` is 0. Only the storage makes it fail.
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
        if matches!(self.source, Source::Blocks(_)) {
            self.report.checked_size += now.len() as u64;
        }
        Ok(now)
    }

    fn next_block(&mut self) -> Result<()> {
        self.block.clear();
        self.given = 0;
        let next = match &mut self.source {
            Source::Blocks(source) => source.next(&mut self.block)?,
            Source::Gzip(source) => source.next(&mut self.block)?,
            Source::Zstd(source) => source.next(&mut self.block)?,
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

    /// Whether there is a table, but none of its blocks could be salvaged.
    fn has_nothing(&self) -> bool {
        matches!(self.source, Source::Blocks(_)) && self.report.salvaged_size == 0 && self.report.missing_size > 0
    }

    /// Starts again from the front, without the table. Either the table belongs to another
    /// snapshot that was appended, or all blocks are damaged and the codec may still read
    /// something.
    fn read_from_the_front(&mut self) -> Result<()> {
        let Source::Blocks(source) = &self.source else { return Ok(()) };
        let storage = source.storage.clone();
        let info = storage.stat(&self.key)?;
        let end = end_of_content(&storage, &info)?;
        let reason = self.report.reason.clone().unwrap_or_else(|| Error::integrity("none of the blocks in the table was found"));
        // If the sizes are not those of this object, the metadata is another snapshot's.
        let is_of_this = source.shift == 0;
        let metadata = self.report.metadata.clone().filter(|_| is_of_this);
        match Self::open_front(&storage, &info, end, metadata, reason) {
            Ok(front) => *self = front,
            Err(error) if is_about_content(error.code) => self.ended = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Returns what was found so far. It is complete once `read` has returned no bytes.
    pub fn report(&self) -> Report {
        self.report.clone()
    }
}
