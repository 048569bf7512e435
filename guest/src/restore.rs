//! Restores states: reads a snapshot and returns its state, checked.

use sha2::{Digest, Sha256};

use crate::codec::{self, BlockRef, Decoder};
use crate::error::{Error, ErrorCode, Result};
use crate::metadata::Metadata;
use crate::open::{BATCH, OpenSnapshot, until_stable};
use crate::storage::{ByteRange, Reader, Storage, read_exact};

/// The data section of a snapshot.
enum Data<R> {
    /// The whole object: it is small, and opening it has read all of it.
    Memory { object: Vec<u8>, position: usize },
    /// A reader of the data section.
    Stored(R),
}

impl<R: Reader> Data<R> {
    /// Reads the next `length` bytes into `slice`, replacing its content.
    fn read(&mut self, length: usize, slice: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Memory { object, position } => {
                let rest = object.get(*position..).unwrap_or_default();
                let now = rest.get(..length).unwrap_or(rest);
                slice.clear();
                slice.extend_from_slice(now);
                *position += now.len();
            }
            Self::Stored(reader) => *slice = read_exact(reader, length)?,
        }
        Ok(())
    }
}

/// The hashes of the blocks that were decoded so far.
#[derive(Default)]
struct StateHashes {
    content_hash: Sha256,
    crc32: u32,
}

/// A snapshot being restored. It holds one slice, its block and the table, whatever the
/// size of the state. It returns no byte before it has checked the byte's frame.
pub struct Restorer<S: Storage> {
    storage: S,
    snapshot: OpenSnapshot,
    data: Data<S::Reader>,
    /// `None` if the caller checks the state as a whole.
    hashes: Option<StateHashes>,
    next_block: usize,
    blocks: Vec<BlockRef>,
    decoder: Decoder,
    slice: Vec<u8>,
    block: Vec<u8>,
    /// How much of the decoded block was returned.
    given: usize,
    failed: Option<Error>,
}

impl<S: Storage> Restorer<S> {
    /// Opens a snapshot and checks its metadata and table. With `check_content_hash`,
    /// reading reaches the end only if the state as a whole is the one that was saved.
    pub fn open(storage: &S, key: &str, check_content_hash: bool) -> Result<Self> {
        until_stable(|| {
            let mut snapshot = OpenSnapshot::open(storage, key)?;
            let data = match snapshot.take_whole_object() {
                Some(object) => Data::Memory { object, position: 0 },
                None => {
                    let span = ByteRange::Span { offset: 0, length: snapshot.data_length() };
                    Data::Stored(storage.open_read(key, span, snapshot.head.info.etag.as_deref())?)
                }
            };
            Ok(Self {
                storage: storage.clone(),
                snapshot,
                data,
                hashes: check_content_hash.then(StateHashes::default),
                next_block: 0,
                blocks: Vec::new(),
                decoder: Decoder::default(),
                slice: Vec::new(),
                block: Vec::new(),
                given: 0,
                failed: None,
            })
        })
        .map_err(|error| error.at(key))
    }

    /// Returns the snapshot's metadata.
    pub fn metadata(&self) -> Metadata {
        self.snapshot.metadata()
    }

    /// Returns the number of blocks.
    pub fn block_count(&self) -> u32 {
        self.snapshot.block_count()
    }

    /// Returns at most `limit` blocks, starting with number `first`.
    pub fn plan(&self, first: u32, limit: u32) -> Vec<BlockRef> {
        self.snapshot.blocks().skip(first as usize).take(limit as usize).collect()
    }

    /// Checks the SHA-256 of the whole state, and its CRC-32 if the codec has one, which
    /// the caller has computed.
    pub fn check(&self, content_hash: [u8; 32], crc32: u32) -> Result<()> {
        self.snapshot.check_state(content_hash, crc32).map_err(|error| error.at(&self.snapshot.head.info.key))
    }

    /// Returns the next bytes of the state: at most `max`, and none only at the end or if
    /// `max` is 0.
    pub fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.read_inner(max as usize).map_err(|error| {
            let error = self.snapshot.head.explain(&self.storage, error).at(&self.snapshot.head.info.key);
            self.failed = Some(error.clone());
            error
        })
    }

    fn read_inner(&mut self, max: usize) -> Result<Vec<u8>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        while self.given == self.block.len() {
            if !self.next()? {
                return Ok(Vec::new());
            }
        }
        if self.given == 0 && self.block.len() <= max {
            // The usual case: no copy.
            return Ok(std::mem::take(&mut self.block));
        }
        let rest = self.block.get(self.given..).unwrap_or_default();
        let now = rest.get(..max).unwrap_or(rest).to_vec();
        self.given += now.len();
        Ok(now)
    }

    /// Decodes the next block. Returns false at the end.
    fn next(&mut self) -> Result<bool> {
        self.block.clear();
        self.given = 0;
        let in_batch = self.next_block % BATCH;
        if in_batch == 0 {
            self.blocks = self.snapshot.batch(self.next_block);
        }
        let Some(block) = self.blocks.get(in_batch) else { return Ok(false) };
        self.data.read(block.slice_length(), &mut self.slice)?;
        self.decoder.decode(block, &self.slice, &mut self.block)?;
        if let Some(hashes) = &mut self.hashes {
            hashes.content_hash.update(&self.block);
            if block.codec.needs_crc32() {
                hashes.crc32 = codec::crc32(hashes.crc32, &self.block);
            }
        }
        self.next_block += 1;
        // Check before the last block is returned, so that nobody gets all of a wrong
        // state.
        if self.next_block == self.snapshot.block_count() as usize
            && let Some(hashes) = self.hashes.take()
        {
            self.snapshot.check_state(hashes.content_hash.finalize().into(), hashes.crc32)?;
        }
        Ok(true)
    }

    /// Returns the whole state, if it has at most `limit` bytes.
    pub fn read_to_end(mut self, limit: u64) -> Result<Vec<u8>> {
        let size = self.snapshot.document().uncompressed_size;
        let too_large = || {
            Error::new(
                ErrorCode::LimitExceeded,
                format!("the state has {size} bytes, which is too much to restore into memory: restore it as a stream"),
            )
            .at(&self.snapshot.head.info.key)
        };
        let mut state = Vec::new();
        let room = usize::try_from(size).ok().filter(|_| size <= limit).ok_or_else(too_large)?;
        state.try_reserve_exact(room).map_err(|_| too_large())?;
        loop {
            let chunk = self.read(u32::MAX)?;
            if chunk.is_empty() {
                return Ok(state);
            }
            state.extend_from_slice(&chunk);
        }
    }
}
