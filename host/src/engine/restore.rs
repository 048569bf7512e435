//! Restores a state piece by piece.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use persist_model::{Codec, SnapshotMetadata};
use persist_model::{ErrorCode, PersistError, Result};
use sha2::{Digest, Sha256};
use wasmtime::component::ResourceAny;

use crate::sandbox::{Guest, log, wit};
use crate::storage::{ByteRange, MAX_READ, ReadOptions, StorageAdapter, StorageReader};
use crate::system::process::OfProcess;
use crate::workers::{WorkerPool, Workers};

/// Blocks planned at a time.
const BATCH: u32 = 256;

/// Reads a snapshot. Every byte that it returns was checked. The state is complete only
/// if the end was reached without an error: the last bytes are returned only after the
/// hash of the whole state was found to match.
pub struct SnapshotReader {
    reading: OfProcess<Reading>,
    metadata: SnapshotMetadata,
    location: String,
    began: Instant,
    /// For `io::Read`: the current chunk, and how much of it was returned.
    chunk: Vec<u8>,
    given: usize,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader").field("location", &self.location).finish_non_exhaustive()
    }
}

struct Reading {
    guest: Guest,
    restorer: ResourceAny,
    output: Output,
    state: StateHashes,
}

/// Hashes of the state returned so far. The host computes them because it can use the
/// processor's own instructions, while workers decode the next blocks.
struct StateHashes {
    content_hash: Sha256,
    /// The checksum for other tools, if the codec has one.
    crc32: Option<crc32fast::Hasher>,
    /// Bytes of the state that were not returned yet.
    left: u64,
    is_checked: bool,
}

impl StateHashes {
    fn new(codec: Codec, size: u64) -> Self {
        let crc32 = (codec == Codec::Gzip).then(crc32fast::Hasher::new);
        Self { content_hash: Sha256::new(), crc32, left: size, is_checked: false }
    }

    fn update(&mut self, chunk: &[u8]) {
        self.content_hash.update(chunk);
        self.left = self.left.saturating_sub(chunk.len() as u64);
        if let Some(crc32) = &mut self.crc32 {
            crc32.update(chunk);
        }
    }

    fn finish(&mut self) -> ([u8; 32], u32) {
        self.is_checked = true;
        (self.content_hash.finalize_reset().into(), self.crc32.take().map_or(0, crc32fast::Hasher::finalize))
    }
}

/// How the state comes out of the component.
enum Output {
    /// As a whole: the component already has the whole object and decodes it.
    Whole,
    /// In blocks that are read and hashed in the host.
    Blocks(Box<Blocks>),
    Ended,
    Failed(PersistError),
}

struct Blocks {
    /// None if this instance decodes all of it.
    workers: Option<Workers<Slice, Vec<u8>>>,
    /// The snapshot's data, from its first byte.
    data: Box<dyn StorageReader>,
    planned: VecDeque<wit::BlockRef>,
    /// Blocks that were planned, and blocks in all.
    next: u32,
    count: u32,
    /// Why reading stopped. Everything read before is returned first.
    failed: Option<PersistError>,
}

/// A block to be decoded, and its bytes in storage.
struct Slice {
    block: wit::BlockRef,
    bytes: Vec<u8>,
}

/// Decodes a block. Its frame is hashed in the host, where the processor's own
/// instructions can be used; the component compares the hash.
fn decode(guest: &mut Guest, slice: &Slice) -> Result<Vec<u8>> {
    let Slice { block, bytes } = slice;
    let begin = block.prefix.len().min(bytes.len());
    let end = begin.saturating_add(block.frame_length as usize).min(bytes.len());
    let hash = Sha256::digest(bytes.get(begin..end).unwrap_or_default());
    guest.call(|persist, store| persist.persist_snapshot_blocks().call_decode_hashed(store, block, bytes, &hash))
}

impl Blocks {
    /// Starts on the blocks of a snapshot. Returns none if the component already has
    /// the whole object, which is small then.
    fn start(guest: &mut Guest, pool: &Arc<WorkerPool>, restorer: ResourceAny, data_length: u64) -> Result<Option<Box<Self>>> {
        let Some(data) = guest.take_reader(data_length) else { return Ok(None) };
        let count =
            guest.call(|persist, store| persist.persist_snapshot_snapshots().restorer().call_block_count(store, restorer).map(Ok))?;
        let workers = if count < 2 { None } else { pool.workers(guest, count as usize - 1, decode) };
        Ok(Some(Box::new(Self { workers, data, planned: VecDeque::new(), next: 0, count, failed: None })))
    }

    /// Returns the next block, after giving the workers as much as they can take.
    fn next(&mut self, guest: &mut Guest, restorer: ResourceAny) -> Result<Option<Vec<u8>>> {
        while self.failed.is_none() && !self.workers.as_ref().is_some_and(Workers::is_full) {
            guest.check_cancel()?;
            match (self.read_ahead(guest, restorer), &mut self.workers) {
                (Ok(Some(slice)), Some(workers)) => workers.submit(slice),
                (Ok(Some(slice)), None) => return decode(guest, &slice).map(Some),
                (Ok(None), _) => break,
                (Err(error), _) => self.failed = Some(error),
            }
        }
        let decoded = self.workers.as_mut().and_then(|workers| workers.next(guest));
        match (decoded, &self.failed) {
            (Some(block), _) => block.map(Some),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Ok(None),
        }
    }

    fn read_ahead(&mut self, guest: &mut Guest, restorer: ResourceAny) -> Result<Option<Slice>> {
        let Some(block) = self.plan(guest, restorer)? else { return Ok(None) };
        let bytes = self.read(guest.storage(), &block)?;
        Ok(Some(Slice { block, bytes }))
    }

    fn plan(&mut self, guest: &mut Guest, restorer: ResourceAny) -> Result<Option<wit::BlockRef>> {
        if self.planned.is_empty() && self.next < self.count {
            let first = self.next;
            let planned = guest
                .call(|persist, store| persist.persist_snapshot_snapshots().restorer().call_plan(store, restorer, first, BATCH).map(Ok))?;
            if planned.is_empty() {
                return Err(PersistError::new(ErrorCode::Other, "the component planned fewer blocks than the snapshot has"));
            }
            self.next = first.saturating_add(u32::try_from(planned.len()).unwrap_or(u32::MAX));
            self.planned = planned.into();
        }
        Ok(self.planned.pop_front())
    }

    /// Reads the bytes of a block. They are fewer if the object ends early, which
    /// decoding the block finds out.
    fn read(&mut self, storage: &dyn StorageAdapter, block: &wit::BlockRef) -> Result<Vec<u8>> {
        let wanted = block.prefix.len().saturating_add(block.frame_length as usize).saturating_add(block.suffix.len());
        if wanted > MAX_SLICE {
            return Err(PersistError::new(ErrorCode::InvalidFormat, "a frame exceeds the maximum length"));
        }
        let Some(key) = &block.key else { return read_up_to(&mut *self.data, wanted) };
        let range = ByteRange::Span { offset: block.offset, length: wanted as u64 };
        let mut elsewhere = storage.open_read(key, ReadOptions { range, if_match: block.etag.clone() })?;
        read_up_to(&mut *elsewhere, wanted)
    }
}

/// Reads the next `wanted` bytes, or fewer if the range ends before.
fn read_up_to(reader: &mut dyn StorageReader, wanted: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < wanted {
        let chunk = reader.read(u32::try_from(wanted - bytes.len()).unwrap_or(u32::MAX))?;
        if chunk.is_empty() {
            break;
        }
        if bytes.is_empty() {
            // Usually all of it.
            bytes = chunk;
        } else {
            bytes.reserve_exact(wanted.saturating_sub(bytes.len()));
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(bytes)
}

/// The most bytes that are reserved for a state only because of the size in its
/// metadata.
const MAX_RESERVED: usize = 64 << 20;

/// More than the largest frame with its prefix and suffix.
const MAX_SLICE: usize = 16 << 20;

impl SnapshotReader {
    pub(crate) fn open(guest: Guest, pool: &Arc<WorkerPool>, key: &str) -> Result<Self> {
        let location = guest.storage().locate(key);
        Self::open_with(guest, pool, location, |guest, options| {
            guest.call(|persist, store| persist.persist_snapshot_snapshots().call_open_restorer(store, key, options))
        })
    }

    /// Opens a snapshot or a step, whose restorer `open` returns.
    pub(crate) fn open_with(
        mut guest: Guest,
        pool: &Arc<WorkerPool>,
        location: String,
        open: impl FnOnce(&mut Guest, wit::RestoreOptions) -> Result<ResourceAny>,
    ) -> Result<Self> {
        let began = Instant::now();
        let open = || {
            // The host hashes the state as a whole.
            let restorer = open(&mut guest, wit::RestoreOptions { check_content_hash: false })?;
            let metadata =
                guest.call(|persist, store| persist.persist_snapshot_snapshots().restorer().call_metadata(store, restorer).map(Ok))?;
            let metadata = SnapshotMetadata::from(metadata);
            let blocks = Blocks::start(&mut guest, pool, restorer, metadata.compressed_size)?;
            Ok((restorer, metadata, blocks.map_or(Output::Whole, Output::Blocks)))
        };
        match open() {
            Ok((restorer, metadata, output)) => {
                let state = StateHashes::new(metadata.compression_algorithm, metadata.uncompressed_size);
                let reading = OfProcess::new(Reading { guest, restorer, output, state });
                Ok(Self { reading, metadata, location, began, chunk: Vec::new(), given: 0 })
            }
            Err(error) => Err(PersistError::at(error, &location)).inspect_err(|error| log("restore", &location, began, Err(error))),
        }
    }

    /// Returns the snapshot's metadata.
    pub fn metadata(&self) -> &SnapshotMetadata {
        &self.metadata
    }

    /// Returns the next part of the state, at most a block of 8 MiB, or none at the
    /// end.
    ///
    /// # Errors
    /// `Integrity` and `InvalidFormat` for a damaged snapshot, any error of the
    /// storage, and `Configuration` in a process that was forked after the reader was
    /// opened.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let reading = self.reading.get()?;
        if let Some(known) = reading.output.known() {
            return known;
        }
        let chunk = reading.next_chunk().map_err(|error| reading.explain(error, &self.metadata).at(&self.location));
        match &chunk {
            Ok(Some(_)) => {}
            Ok(None) => {
                reading.output = Output::Ended;
                log("restore", &self.location, self.began, Ok((self.metadata.uncompressed_size, self.metadata.stored_size)));
            }
            Err(error) => {
                reading.output = Output::Failed(error.clone());
                log("restore", &self.location, self.began, Err(error));
            }
        }
        chunk
    }

    /// Reads the rest of the state into memory. `progress` is called with the number of
    /// bytes read so far; if it fails, the reading ends with its error.
    ///
    /// # Errors
    /// As [`next_chunk`](Self::next_chunk), and `ResourceLimit` for a state that does
    /// not fit in this machine's memory.
    pub fn read_state(&mut self, mut progress: impl FnMut(u64) -> Result<()>) -> Result<Vec<u8>> {
        let mut state = Vec::new();
        while let Some(chunk) = self.next_chunk()? {
            if state.is_empty() {
                // Often this is all of it. If there is more, memory is reserved at
                // once, since a growing buffer would be copied again and again.
                let size = usize::try_from(self.metadata.uncompressed_size).unwrap_or(usize::MAX);
                state = chunk;
                let _ = state.try_reserve_exact(size.min(MAX_RESERVED).saturating_sub(state.len()));
                progress(state.len() as u64)?;
                continue;
            }
            state.try_reserve(chunk.len()).map_err(|_| {
                PersistError::new(ErrorCode::MemoryLimit, "the state does not fit in this machine's memory")
                    .at(&self.location)
                    .hint("restore it piece by piece")
            })?;
            state.extend_from_slice(&chunk);
            progress(state.len() as u64)?;
        }
        Ok(state)
    }
}

impl Output {
    /// Returns the result of every call after the end.
    fn known(&self) -> Option<Result<Option<Vec<u8>>>> {
        match self {
            Self::Ended => Some(Ok(None)),
            Self::Failed(error) => Some(Err(error.clone())),
            Self::Whole | Self::Blocks(_) => None,
        }
    }
}

impl Reading {
    /// Explains an error that occurred while the state was read in blocks. A storage
    /// without etags can't be asked for the version that was opened, so if another
    /// version is there now, the two were mixed. Where the component reads, it checks
    /// this itself.
    fn explain(&mut self, error: PersistError, metadata: &SnapshotMetadata) -> PersistError {
        let may_be_mixed = matches!(error.code(), ErrorCode::Integrity | ErrorCode::InvalidFormat | ErrorCode::Io);
        if metadata.etag.is_some() || !may_be_mixed || !matches!(self.output, Output::Blocks(_)) {
            return error;
        }
        let key = metadata.key.as_str();
        let now = self.guest.call(|persist, store| persist.persist_snapshot_snapshots().call_get_metadata(store, key));
        let was_replaced = match now {
            Ok(now) => now.digest != metadata.digest,
            Err(now) => now.code() == ErrorCode::NotFound,
        };
        if !was_replaced {
            return error;
        }
        let mut replaced = PersistError::new(ErrorCode::PreconditionFailed, "the snapshot was replaced while it was being read");
        replaced.detail_mut().retryable = true;
        replaced.hint("read it again from the beginning")
    }

    fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let Self { guest, restorer, output, state } = self;
        let chunk = match output {
            Output::Blocks(blocks) => blocks.next(guest, *restorer)?,
            _ => {
                let chunk =
                    guest.call(|persist, store| persist.persist_snapshot_snapshots().restorer().call_read(store, *restorer, MAX_READ))?;
                (!chunk.is_empty()).then_some(chunk)
            }
        };
        if let Some(chunk) = &chunk {
            state.update(chunk);
        }
        // Checked before the last bytes are returned, so that no caller gets all of a
        // wrong state.
        if !state.is_checked && (chunk.is_none() || state.left == 0) {
            let (hash, crc32) = state.finish();
            guest.call(|persist, store| persist.persist_snapshot_snapshots().restorer().call_check(store, *restorer, &hash, crc32))?;
        }
        Ok(chunk)
    }
}

impl io::Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.chunk.len() {
            self.given = 0;
            self.chunk = self.next_chunk()?.unwrap_or_default();
        }
        let mut rest = self.chunk.get(self.given..).unwrap_or_default();
        let read = io::Read::read(&mut rest, buffer)?;
        self.given += read;
        Ok(read)
    }
}
