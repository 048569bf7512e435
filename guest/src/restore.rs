//! Restoring: a snapshot goes in and its state comes out, checked.

use sha2::{Digest, Sha256};

use crate::codec::{self, BlockRef, Decoder};
use crate::error::{Error, ErrorCode, Result};
use crate::metadata::Metadata;
use crate::open::{OpenSnapshot, read_exact, until_stable};
use crate::storage::{ByteRange, Reader, Storage};

/// The data section of a snapshot, from its first byte on.
enum Data<R> {
    /// The object is small and was read whole.
    Memory { object: Vec<u8>, position: usize },
    /// A read of the data section.
    Stored(R),
}

impl<R: Reader> Data<R> {
    /// Replaces `slice` by the next `length` bytes.
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

/// Of the blocks that were decoded so far.
#[derive(Default)]
struct StateHashes {
    content_hash: Sha256,
    crc32: u32,
}

/// A snapshot being restored. Holds a slice, its block and the table, whatever
/// the state's size. No byte leaves it before the frame that it is in was checked.
pub struct Restorer<S: Storage> {
    storage: S,
    snapshot: OpenSnapshot,
    data: Data<S::Reader>,
    /// None where whoever reads checks the state as a whole.
    hashes: Option<StateHashes>,
    next_block: usize,
    blocks: Vec<BlockRef>,
    decoder: Decoder,
    slice: Vec<u8>,
    /// The decoded block, and how much of it was given out.
    block: Vec<u8>,
    given: usize,
    failed: Option<Error>,
}

/// How many block references are made of the table at a time.
const BATCH: usize = 256;

impl<S: Storage> Restorer<S> {
    /// Opens a snapshot and checks its metadata and table. With
    /// `check_content_hash` the end of the state is reached only if the state as
    /// a whole is the one that was saved.
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

    /// The snapshot's metadata.
    pub fn metadata(&self) -> Metadata {
        self.snapshot.metadata()
    }

    /// How many blocks the state has.
    pub fn block_count(&self) -> u32 {
        self.snapshot.block_count()
    }

    /// The blocks from number `first`, at most `limit`.
    pub fn plan(&self, first: u32, limit: u32) -> Vec<BlockRef> {
        self.snapshot.blocks().skip(first as usize).take(limit as usize).collect()
    }

    /// Compares what was computed of the whole state elsewhere: its SHA-256, and
    /// its CRC-32 where the codec has one.
    pub fn check(&self, content_hash: [u8; 32], crc32: u32) -> Result<()> {
        self.snapshot.check_state(content_hash, crc32).map_err(|error| error.at(&self.snapshot.head.info.key))
    }

    /// The next bytes of the state: at most `max`, none only at the end, or where
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
            // The usual case: the block leaves as it is.
            return Ok(std::mem::take(&mut self.block));
        }
        let rest = self.block.get(self.given..).unwrap_or_default();
        let now = rest.get(..max).unwrap_or(rest).to_vec();
        self.given += now.len();
        Ok(now)
    }

    /// Decodes the next block; false at the end.
    fn next(&mut self) -> Result<bool> {
        self.block.clear();
        self.given = 0;
        let in_batch = self.next_block % BATCH;
        if in_batch == 0 {
            self.blocks = self.snapshot.blocks().skip(self.next_block).take(BATCH).collect();
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
        // Before the last block is given out: nobody gets all of a wrong state.
        if self.next_block == self.snapshot.block_count() as usize
            && let Some(hashes) = self.hashes.take()
        {
            self.snapshot.check_state(hashes.content_hash.finalize().into(), hashes.crc32)?;
        }
        Ok(true)
    }

    /// The whole state, if it has at most `limit` bytes.
    pub fn read_to_end(mut self, limit: u64) -> Result<Vec<u8>> {
        let size = self.snapshot.document().uncompressed_size;
        let too_large = || {
            Error::new(
                ErrorCode::LimitExceeded,
                format!("the state has {size} bytes, which is too much for memory here: restore it as a stream"),
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
