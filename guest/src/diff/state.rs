//! The states that are compared, in parts.

use std::cell::RefCell;
use std::rc::Rc;

use crate::codec::{BlockRef, Decoder};
use crate::error::{Error, ErrorCode, Result};
use crate::open::OpenSnapshot;
use crate::restore::Restorer;
use crate::storage::{ByteRange, ObjectInfo, Storage, read_exact};
use crate::timeline::{StateReader, Timeline, step_of};

/// How much of a state is held.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// The largest state that is held as a whole.
    pub(super) whole: u64,
    /// How much of a larger step or object is read at a time. A snapshot is read by block.
    pub(super) part: u64,
}

pub(super) const SIZES: Sizes = Sizes { whole: 32 << 20, part: 2 << 20 };

/// How many bytes are compared at a time.
const CHUNK: u64 = 1 << 20;

/// How many parts of a larger state are held: one that a container is read from, and one that
/// is copied from.
const MAX_PARTS: usize = 2;

/// A state to compare.
#[derive(Clone, Debug)]
pub enum Source {
    /// The state of a snapshot or step with this key.
    Stored(String),
    /// All bytes of the object with this key.
    Object(String),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// Some bytes of a state.
#[derive(Clone)]
pub(super) struct Part {
    /// Where they begin.
    pub(super) start: u64,
    pub(super) bytes: Rc<Vec<u8>>,
}

impl Part {
    fn holds(&self, at: u64) -> bool {
        at >= self.start && at - self.start < self.bytes.len() as u64
    }
}

/// A state that several readers share.
pub(super) type Side<S> = Rc<State<S>>;

/// A state that is compared.
pub(super) struct State<S: Storage> {
    size: u64,
    content_hash: Option<String>,
    inner: RefCell<Inner<S>>,
}

struct Inner<S: Storage> {
    storage: S,
    origin: Origin<S>,
    /// How much is read at a time.
    part: u64,
    /// The parts that were read last, the newest first.
    parts: Vec<Part>,
}

/// Where the bytes of a state come from.
enum Origin<S: Storage> {
    Memory,
    Snapshot { key: String, blocks: Vec<(u64, BlockRef)>, decoder: Decoder },
    Step(Box<StateReader<S>>),
    Object(ObjectInfo),
}

impl<S: Storage> State<S> {
    pub(super) fn open(storage: &S, source: Source, sizes: Sizes) -> Result<Self> {
        match source {
            Source::Bytes(bytes) => Ok(Self::in_memory(storage, bytes, None)),
            Source::Object(key) => Self::object(storage, &key, sizes).map_err(|error| error.at(&key)),
            Source::Stored(key) => match step_of(&key) {
                Some((folder, number)) => Self::step(Timeline::new(storage.clone(), folder).open(number, true)?, storage, sizes),
                None => Self::snapshot(storage, &key, sizes).map_err(|error| error.at(&key)),
            },
        }
    }

    fn in_memory(storage: &S, bytes: Vec<u8>, content_hash: Option<String>) -> Self {
        let size = bytes.len() as u64;
        let parts = vec![Part { start: 0, bytes: Rc::new(bytes) }];
        Self { size, content_hash, inner: RefCell::new(Inner { storage: storage.clone(), origin: Origin::Memory, part: 0, parts }) }
    }

    fn in_parts(storage: &S, size: u64, content_hash: Option<String>, origin: Origin<S>, part: u64) -> Self {
        Self { size, content_hash, inner: RefCell::new(Inner { storage: storage.clone(), origin, part, parts: Vec::new() }) }
    }

    fn object(storage: &S, key: &str, sizes: Sizes) -> Result<Self> {
        let info = storage.stat(key)?;
        if info.size > sizes.whole {
            return Ok(Self::in_parts(storage, info.size, None, Origin::Object(info), sizes.part));
        }
        let mut reader = storage.open_read(key, ByteRange::All, info.etag.as_deref())?;
        let bytes = read_exact(&mut reader, usize::try_from(info.size).unwrap_or(usize::MAX)).map_err(|error| error.at(key))?;
        Ok(Self::in_memory(storage, bytes, None))
    }

    fn step(mut reader: StateReader<S>, storage: &S, sizes: Sizes) -> Result<Self> {
        let size = reader.metadata().uncompressed_size;
        let content_hash = Some(reader.metadata().content_hash.clone());
        if size <= sizes.whole {
            return Ok(Self::in_memory(storage, reader.read_to_end(sizes.whole)?, content_hash));
        }
        Ok(Self::in_parts(storage, size, content_hash, Origin::Step(Box::new(reader)), sizes.part))
    }

    fn snapshot(storage: &S, key: &str, sizes: Sizes) -> Result<Self> {
        let restorer = Restorer::open(storage, key, true)?;
        let metadata = restorer.metadata();
        let (size, content_hash) = (metadata.uncompressed_size, Some(metadata.content_hash));
        if size <= sizes.whole {
            return Ok(Self::in_memory(storage, restorer.read_to_end(sizes.whole)?, content_hash));
        }
        let snapshot = OpenSnapshot::open(storage, key)?;
        let mut start = 0;
        let place = |block: BlockRef| {
            let placed = (start, block);
            start += u64::from(placed.1.length);
            placed
        };
        let blocks = snapshot.blocks().map(place).collect();
        let origin = Origin::Snapshot { key: key.to_owned(), blocks, decoder: Decoder::default() };
        Ok(Self::in_parts(
            storage,
            snapshot.document().uncompressed_size,
            Some(snapshot.document().content_hash.clone()),
            origin,
            sizes.part,
        ))
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns a part that holds the byte `at`, which is in the state.
    pub(super) fn part(&self, at: u64) -> Result<Part> {
        let mut inner = self.inner.borrow_mut();
        if let Some(index) = inner.parts.iter().position(|part| part.holds(at)) {
            // Usually it is the first.
            inner.parts.get_mut(..=index).unwrap_or_default().rotate_right(1);
            return Ok(inner.parts.first().cloned().unwrap_or_else(|| unreachable!("it was just found")));
        }
        inner.parts.truncate(MAX_PARTS - 1);
        let part = inner.read(at, self.size)?;
        inner.parts.insert(0, part.clone());
        Ok(part)
    }

    /// Returns the bytes from `at` on that are at hand, at most `most`, and none only at the
    /// end.
    pub(super) fn copy(&self, at: u64, most: u64) -> Result<Vec<u8>> {
        if at >= self.size || most == 0 {
            return Ok(Vec::new());
        }
        let part = self.part(at)?;
        let rest = usize::try_from(at - part.start).ok().and_then(|skip| part.bytes.get(skip..)).unwrap_or_default();
        Ok(usize::try_from(most).ok().and_then(|most| rest.get(..most)).unwrap_or(rest).to_vec())
    }

    /// Whether two states have the same bytes.
    pub(super) fn equals(&self, other: &Self) -> Result<bool> {
        if self.size != other.size {
            return Ok(false);
        }
        if let (Some(one), Some(other)) = (&self.content_hash, &other.content_hash) {
            return Ok(one == other);
        }
        let mut at = 0;
        while at < self.size {
            let ours = self.copy(at, CHUNK)?;
            let theirs = other.copy(at, ours.len() as u64)?;
            if !ours.starts_with(&theirs) {
                return Ok(false);
            }
            at += theirs.len() as u64;
        }
        Ok(true)
    }

    /// Whether it is UTF-8.
    pub(super) fn is_text(&self) -> Result<bool> {
        let (mut at, mut cut) = (0, Vec::new());
        while at < self.size {
            let part = self.copy(at, CHUNK)?;
            at += part.len() as u64;
            // A character may be in two parts.
            let bytes = if cut.is_empty() { part } else { [cut, part].concat() };
            cut = match std::str::from_utf8(&bytes) {
                Ok(_) => Vec::new(),
                Err(error) if error.error_len().is_some() => return Ok(false),
                Err(error) => bytes.get(error.valid_up_to()..).unwrap_or_default().to_vec(),
            };
        }
        Ok(cut.is_empty())
    }
}

impl<S: Storage> Inner<S> {
    /// Reads the part that holds the byte `at`.
    fn read(&mut self, at: u64, size: u64) -> Result<Part> {
        let start = at - at % self.part.max(1);
        let length = self.part.min(size - start);
        let (start, bytes) = match &mut self.origin {
            // It has one part, which holds all bytes.
            Origin::Memory => (0, Vec::new()),
            Origin::Step(reader) => (start, reader.part_at(start, length)?),
            Origin::Object(info) => {
                let span = ByteRange::Span { offset: start, length };
                let mut reader = self.storage.open_read(&info.key, span, info.etag.as_deref())?;
                let bytes = read_exact(&mut reader, usize::try_from(length).unwrap_or(usize::MAX));
                (start, bytes.map_err(|error| error.at(&info.key))?)
            }
            Origin::Snapshot { key, blocks, decoder } => {
                let index = blocks.partition_point(|(start, _)| *start <= at).saturating_sub(1);
                let Some((start, block)) = blocks.get(index) else { return Err(outside(key, at)) };
                let span = ByteRange::Span { offset: block.offset, length: block.slice_length() as u64 };
                let mut reader = self.storage.open_read(key, span, block.etag.as_deref())?;
                let mut bytes = Vec::new();
                let slice = read_exact(&mut reader, block.slice_length()).map_err(|error| error.at(key))?;
                decoder.decode(block, &slice, &mut bytes).map_err(|error| error.at(key))?;
                (*start, bytes)
            }
        };
        let part = Part { start, bytes: Rc::new(bytes) };
        if part.holds(at) { Ok(part) } else { Err(outside("", at)) }
    }
}

fn outside(key: &str, at: u64) -> Error {
    Error::new(ErrorCode::Integrity, format!("the state has no byte {at}")).at(key)
}
