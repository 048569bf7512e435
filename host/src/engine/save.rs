//! Saves a state piece by piece.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use persist_model::{Codec, SnapshotMetadata, SnapshotOptions};
use persist_model::{ErrorCode, PersistError, Result};
use sha2::{Digest, Sha256};
use wasmtime::component::ResourceAny;

use crate::sandbox::{Guest, log, wit};
use crate::system::process::OfProcess;
use crate::workers::{WorkerPool, Workers};

/// State passed to the component in one call, at most.
const CHUNK: usize = 1 << 20;

/// States larger than this, in bytes, go through the component in blocks, even if there
/// is only one. The host hashes the blocks while workers encode them. Measured: below
/// this size, another thread and instance cost as much as they save.
const WORTH_BLOCKS: usize = 256 << 10;

/// Writes a snapshot. If it is dropped without [`commit`](Self::commit), nothing is
/// stored.
pub struct SnapshotWriter(OfProcess<Writing>);

struct Writing {
    input: Input,
    saver: Saver,
}

/// How the state goes into the component.
enum Input {
    /// The first block is not full yet. Holds its bytes, and the size hint, if any.
    Undecided(Vec<u8>, Option<u64>),
    /// As a whole: the component cuts, encodes and hashes a small state.
    Whole,
    /// In blocks that this instance encodes. Holds the bytes of an unfinished block.
    Blocks(Vec<u8>),
    /// In blocks that workers encode.
    Workers(Parallel),
    Failed(PersistError),
}

struct Parallel {
    workers: Workers<Block, wit::EncodedBlock>,
    /// The bytes of an unfinished block.
    begun: Vec<u8>,
    /// Blocks that went to the workers and are not hashed yet.
    unhashed: VecDeque<Arc<Vec<u8>>>,
}

/// A block to be encoded, and hashed at the same time.
struct Block {
    encoding: wit::Encoding,
    plain: Arc<Vec<u8>>,
}

/// Compresses a block. Its frame is hashed in the host, where the processor's own
/// instructions can be used.
fn encode(guest: &mut Guest, encoding: wit::Encoding, plain: &[u8]) -> Result<wit::EncodedBlock> {
    let wit::Encoding { codec, level, .. } = encoding;
    let frame = guest.call(|persist, store| persist.persist_snapshot_blocks().call_encode_frame(store, codec, level, plain))?;
    Ok(wit::EncodedBlock {
        length: u32::try_from(plain.len()).unwrap_or(u32::MAX),
        crc32: if Codec::from(codec) == Codec::Gzip { crc32fast::hash(plain) } else { 0 },
        hash: Sha256::digest(&frame).to_vec(),
        frame,
    })
}

/// Cuts state into blocks of this size and passes on the full ones. `begun` holds the
/// bytes of an unfinished block, before and after.
fn cut<'a>(begun: &mut Vec<u8>, mut state: &'a [u8], size: usize, mut full: impl FnMut(Cow<'a, [u8]>) -> Result<()>) -> Result<()> {
    while !state.is_empty() {
        if begun.is_empty()
            && let Some((block, rest)) = state.split_at_checked(size)
        {
            full(Cow::Borrowed(block))?;
            state = rest;
            continue;
        }
        let (now, rest) = state.split_at(state.len().min(size - begun.len()));
        begun.extend_from_slice(now);
        if begun.len() == size {
            full(Cow::Owned(std::mem::replace(begun, Vec::with_capacity(size))))?;
        }
        state = rest;
    }
    Ok(())
}

/// The component's side of a save.
struct Saver {
    guest: Guest,
    pool: Arc<WorkerPool>,
    handle: ResourceAny,
    /// The hash of the state so far, computed in the host with the processor's own
    /// SHA-256 instructions.
    content_hash: Sha256,
    encoding: wit::Encoding,
    location: String,
    began: Instant,
}

impl Saver {
    fn block_size(&self) -> usize {
        self.encoding.block_size as usize
    }

    fn write(&mut self, state: &[u8]) -> Result<()> {
        self.hash(state);
        let handle = self.handle;
        state.chunks(CHUNK).try_for_each(|chunk| {
            self.guest.call(|persist, store| persist.persist_snapshot_snapshots().saver().call_write(store, handle, chunk))
        })
    }

    fn hash(&mut self, state: &[u8]) {
        self.content_hash.update(state);
    }

    /// Encodes a block in the saver's own instance and appends it.
    fn encode(&mut self, plain: &[u8]) -> Result<()> {
        self.hash(plain);
        let block = encode(&mut self.guest, self.encoding, plain)?;
        self.append(&block)
    }

    fn append(&mut self, block: &wit::EncodedBlock) -> Result<()> {
        let handle = self.handle;
        self.guest.call(|persist, store| persist.persist_snapshot_snapshots().saver().call_append_hashed(store, handle, block))
    }

    fn commit(&mut self) -> Result<SnapshotMetadata> {
        let handle = self.handle;
        let hash: [u8; 32] = self.content_hash.finalize_reset().into();
        self.guest.call(|persist, store| persist.persist_snapshot_snapshots().saver().call_set_content_hash(store, handle, &hash))?;
        let committed = self.guest.call(|persist, store| persist.persist_snapshot_snapshots().saver().call_commit(store, handle));
        committed.map(SnapshotMetadata::from)
    }
}

impl Parallel {
    /// Takes state. Full blocks go to the workers, and encoded ones into the snapshot,
    /// even if the next state is slow to come.
    fn write(&mut self, state: &[u8], saver: &mut Saver) -> Result<()> {
        let mut begun = std::mem::take(&mut self.begun);
        cut(&mut begun, state, saver.block_size(), |block| self.submit(block.into_owned(), saver))?;
        self.begun = begun;
        while self.hash(saver) {}
        self.append_ready(saver)
    }

    /// Passes a block to the workers. While they have enough to do, earlier blocks are
    /// hashed.
    fn submit(&mut self, plain: Vec<u8>, saver: &mut Saver) -> Result<()> {
        self.append_ready(saver)?;
        while self.workers.is_full() || self.unhashed.len() >= self.workers.most() {
            if !self.hash(saver) {
                self.take(saver)?;
            }
            self.append_ready(saver)?;
        }
        let plain = Arc::new(plain);
        self.workers.submit(Block { encoding: saver.encoding, plain: Arc::clone(&plain) });
        self.unhashed.push_back(plain);
        Ok(())
    }

    /// Appends the blocks that are already encoded.
    fn append_ready(&mut self, saver: &mut Saver) -> Result<()> {
        while let Some(encoded) = self.workers.next_if_ready() {
            saver.append(&encoded?)?;
        }
        Ok(())
    }

    /// Hashes the next block. Returns false if there is none.
    fn hash(&mut self, saver: &mut Saver) -> bool {
        let Some(plain) = self.unhashed.pop_front() else { return false };
        saver.hash(&plain);
        true
    }

    /// Waits for the next encoded block and appends it. Returns false if there is none.
    fn take(&mut self, saver: &mut Saver) -> Result<bool> {
        let Some(encoded) = self.workers.next(&mut saver.guest) else { return Ok(false) };
        saver.append(&encoded?)?;
        Ok(true)
    }

    fn finish(mut self, saver: &mut Saver) -> Result<()> {
        let last = std::mem::take(&mut self.begun);
        if !last.is_empty() {
            self.submit(last, saver)?;
        }
        while self.hash(saver) {}
        while self.take(saver)? {}
        Ok(())
    }
}

/// The largest block that the format allows, in bytes.
const MAX_BLOCK: u32 = 8 << 20;

impl SnapshotWriter {
    pub(crate) fn open(mut guest: Guest, pool: &Arc<WorkerPool>, key: &str, options: SnapshotOptions) -> Result<Self> {
        let began = Instant::now();
        let size_hint = options.size_hint;
        let options = wit::SaveOptions { host_hashes: true, ..options.into() };
        let location = guest.storage().locate(key);
        let mut open = || {
            let handle = guest.call(|persist, store| persist.persist_snapshot_snapshots().call_open_saver(store, key, &options))?;
            let encoding =
                guest.call(|persist, store| persist.persist_snapshot_snapshots().saver().call_encoding(store, handle).map(Ok))?;
            if !(1..=MAX_BLOCK).contains(&encoding.block_size) {
                let wrong = format!("the component asks for blocks of {} bytes, which the format does not allow", encoding.block_size);
                return Err(PersistError::new(ErrorCode::Other, wrong));
            }
            Ok((handle, encoding))
        };
        let (handle, encoding) = match open() {
            Ok(opened) => opened,
            Err(error) => {
                return Err(PersistError::at(error, &location)).inspect_err(|error| log("snapshot", &location, began, Err(error)));
            }
        };
        let saver = Saver { guest, pool: Arc::clone(pool), handle, content_hash: Sha256::new(), encoding, location, began };
        let is_small = size_hint.is_some_and(|size| size <= WORTH_BLOCKS as u64);
        let input = if is_small { Input::Whole } else { Input::Undecided(Vec::new(), size_hint) };
        Ok(Self(OfProcess::new(Writing { input, saver })))
    }

    /// Appends to the state. After an error, the writer can only be dropped.
    ///
    /// # Errors
    /// Any error of the storage, and `Configuration` in a process that was forked after
    /// the writer was opened.
    pub fn write_state(&mut self, state: &[u8]) -> Result<()> {
        let writing = self.0.get()?;
        writing.write(state).map_err(|error| writing.failed(error))
    }

    /// Completes the snapshot and makes it visible, as a whole.
    ///
    /// # Errors
    /// As [`Engine::snapshot`](crate::Engine::snapshot).
    pub fn commit(self) -> Result<SnapshotMetadata> {
        self.0.take()?.commit()
    }
}

impl Writing {
    fn write(&mut self, state: &[u8]) -> Result<()> {
        if let Input::Undecided(first, size) = &mut self.input {
            if first.len() + state.len() <= self.saver.block_size() {
                first.extend_from_slice(state);
                return Ok(());
            }
            let (first, size) = (std::mem::take(first), *size);
            self.decide(&first, size)?;
        }
        match &mut self.input {
            Input::Whole | Input::Undecided(..) => self.saver.write(state),
            Input::Blocks(begun) => cut(begun, state, self.saver.block_size(), |block| self.saver.encode(&block)),
            Input::Workers(parallel) => parallel.write(state, &mut self.saver),
            Input::Failed(error) => Err(error.clone()),
        }
    }

    /// Gets workers for a state that begins like this, or continues without them.
    fn decide(&mut self, first: &[u8], size: Option<u64>) -> Result<()> {
        let blocks = size.map_or(usize::MAX, |size| usize::try_from(size).unwrap_or(usize::MAX).div_ceil(self.saver.block_size()));
        let encode = |guest: &mut Guest, block: &Block| encode(guest, block.encoding, &block.plain);
        self.input = match self.saver.pool.workers(&self.saver.guest, blocks, encode) {
            Some(workers) => Input::Workers(Parallel { workers, begun: Vec::new(), unhashed: VecDeque::new() }),
            None => Input::Blocks(Vec::new()),
        };
        self.write(first)
    }

    fn commit(mut self) -> Result<SnapshotMetadata> {
        let mut written = Ok(());
        if let Input::Undecided(all, _) = &mut self.input {
            let all = std::mem::take(all);
            written = if all.len() > WORTH_BLOCKS { self.decide(&all, Some(all.len() as u64)) } else { self.saver.write(&all) };
        }
        let written = written.and_then(|()| match std::mem::replace(&mut self.input, Input::Whole) {
            Input::Undecided(..) | Input::Whole => Ok(()),
            Input::Blocks(last) if last.is_empty() => Ok(()),
            Input::Blocks(last) => self.saver.encode(&last),
            Input::Workers(parallel) => parallel.finish(&mut self.saver),
            Input::Failed(error) => Err(error),
        });
        let metadata = written.and_then(|()| self.saver.commit()).map_err(|error| self.failed(error))?;
        log("snapshot", &self.saver.location, self.saver.began, Ok((metadata.uncompressed_size, metadata.stored_size)));
        Ok(metadata)
    }

    /// Marks the write as failed, which also ends its workers. Nothing is stored after
    /// this.
    fn failed(&mut self, error: PersistError) -> PersistError {
        let error = error.at(&self.saver.location);
        self.input = Input::Failed(error.clone());
        log("snapshot", &self.saver.location, self.saver.began, Err(&error));
        error
    }
}

impl io::Write for SnapshotWriter {
    fn write(&mut self, state: &[u8]) -> io::Result<usize> {
        self.write_state(state)?;
        Ok(state.len())
    }

    /// Does nothing, since only a commit stores anything.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
