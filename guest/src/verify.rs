//! Verifies snapshots: checks all their bytes in one pass.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use crate::codec::{self, BlockRef, Decoder};
use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::open::{OpenSnapshot, until_stable};
use crate::storage::{ByteRange, CHUNK, Reader, Storage};

/// A snapshot being verified. The caller hands over its bytes in order. It accepts exactly
/// the files of which a restore returns the whole state.
pub struct Verifier<S> {
    storage: S,
    snapshot: OpenSnapshot,
    /// References to the next blocks, and how many references were made so far.
    blocks: VecDeque<BlockRef>,
    made: usize,
    decoder: Decoder,
    /// The part of the next slice that was handed over.
    slice: Vec<u8>,
    block: Vec<u8>,
    content_hash: Sha256,
    crc32: u32,
    /// The bytes that have to follow the data, once they are needed, and how many of them
    /// were handed over.
    trailing: Option<Vec<u8>>,
    matched: usize,
    /// The number of bytes that were handed over.
    seen: u64,
    failed: Option<Error>,
}

impl<S: Storage> Verifier<S> {
    /// Opens a snapshot and checks its metadata and table.
    pub fn open(storage: &S, key: &str) -> Result<Self> {
        let snapshot = until_stable(|| OpenSnapshot::open(storage, key)).map_err(|error| error.at(key))?;
        Ok(Self {
            storage: storage.clone(),
            snapshot,
            blocks: VecDeque::new(),
            made: 0,
            decoder: Decoder::default(),
            slice: Vec::new(),
            block: Vec::new(),
            content_hash: Sha256::new(),
            crc32: 0,
            trailing: None,
            matched: 0,
            seen: 0,
            failed: None,
        })
    }

    /// Returns the snapshot's metadata, with the size and etag of the object to read.
    pub fn metadata(&self) -> Metadata {
        self.snapshot.metadata()
    }

    /// Checks the next bytes of the object, any number of them.
    pub fn write(&mut self, chunk: &[u8]) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.write_inner(chunk).map_err(|error| {
            let error = self.snapshot.head.explain(&self.storage, error).at(&self.snapshot.head.info.key);
            self.failed = Some(error.clone());
            error
        })
    }

    fn next_slice_length(&mut self) -> Option<usize> {
        if self.blocks.is_empty() {
            self.blocks = self.snapshot.batch(self.made).into();
            self.made += self.blocks.len();
        }
        self.blocks.front().map(BlockRef::slice_length)
    }

    fn write_inner(&mut self, mut chunk: &[u8]) -> Result<()> {
        self.seen += chunk.len() as u64;
        while !chunk.is_empty() {
            let Some(length) = self.next_slice_length() else { return self.match_trailing(chunk) };
            let (now, rest) = chunk.split_at(chunk.len().min(length - self.slice.len()));
            chunk = rest;
            if now.len() == length {
                self.check_block(now)?;
                continue;
            }
            self.slice.extend_from_slice(now);
            if self.slice.len() == length {
                let mut slice = std::mem::take(&mut self.slice);
                self.check_block(&slice)?;
                slice.clear();
                self.slice = slice;
            }
        }
        Ok(())
    }

    fn check_block(&mut self, slice: &[u8]) -> Result<()> {
        let Some(block) = self.blocks.pop_front() else { return Ok(()) };
        self.decoder.decode(&block, slice, &mut self.block)?;
        self.content_hash.update(&self.block);
        if block.codec.needs_crc32() {
            self.crc32 = codec::crc32(self.crc32, &self.block);
        }
        Ok(())
    }

    fn match_trailing(&mut self, chunk: &[u8]) -> Result<()> {
        let snapshot = &self.snapshot;
        let trailing = self.trailing.get_or_insert_with(|| snapshot.trailing_bytes());
        let expected = trailing.get(self.matched..).unwrap_or_default();
        let at = snapshot.data_length() + self.matched as u64;
        if chunk.len() > expected.len() {
            return Err(Error::integrity(format!("bytes follow the end of the snapshot (at byte {})", at + expected.len() as u64)));
        }
        if let Some(index) = chunk.iter().zip(expected).position(|(found, expected)| found != expected) {
            return Err(Error::integrity(format!(
                "the block table, the metadata or the footer was changed (at byte {})",
                at + index as u64
            )));
        }
        self.matched += chunk.len();
        Ok(())
    }

    /// Fails unless all bytes were handed over and are correct.
    pub fn finish(self) -> Result<Metadata> {
        let key = self.snapshot.head.info.key.clone();
        self.finish_inner().map_err(|error| error.at(&key))
    }

    fn finish_inner(mut self) -> Result<Metadata> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let complete = self.next_slice_length().is_none() && self.trailing.as_ref().is_some_and(|trailing| trailing.len() == self.matched);
        let head = &self.snapshot.head;
        if !complete {
            return Err(head.explain(&self.storage, Error::short_read(self.seen, head.info.size)));
        }
        self.snapshot.check_state(self.content_hash.finalize().into(), self.crc32)?;
        Ok(self.snapshot.metadata())
    }
}

/// Reads a whole snapshot and checks all of it.
pub fn verify<S: Storage>(storage: &S, key: &str) -> Result<Metadata> {
    let verified = until_stable(|| {
        let mut verifier = Verifier::open(storage, key)?;
        let etag = verifier.snapshot.head.info.etag.clone();
        let mut reader = storage.open_read(key, ByteRange::All, etag.as_deref())?;
        loop {
            let chunk = reader.read(u32::try_from(CHUNK).unwrap_or(u32::MAX))?;
            if chunk.is_empty() {
                return verifier.finish();
            }
            verifier.write(&chunk)?;
        }
    });
    verified.map_err(|error| error.at(key))
}
