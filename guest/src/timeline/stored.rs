//! The frames of a step, as they are read from its object.

use persist_paths::timeline::is_step_size;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorCode, Result};
use crate::hash::hex;
use crate::storage::{ByteRange, MAX_READ_MANY, Storage, read_exact};
use crate::timeline::frames::slice;
use crate::timeline::step::Step;

/// Frames that are this near to each other are read together.
const NEAR: u64 = 16 << 10;

/// A frame of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// Its first byte in the object.
    pub(crate) offset: u64,
    pub(crate) length: u32,
    /// Its first byte among the literal bytes of the step.
    pub(crate) literal: u64,
    pub(crate) plain_length: u32,
    pub(crate) hash: [u8; 32],
}

/// Returns the frames of a step, in order.
pub(crate) fn frames(step: &Step) -> Vec<Frame> {
    let (mut offset, mut literal) = (0, 0);
    let frame = |row: crate::table::Row| {
        let frame = Frame { offset, length: row.frame_length, literal, plain_length: row.length, hash: row.hash };
        offset += u64::from(row.frame_length);
        literal += u64::from(row.length);
        frame
    };
    step.table.rows().map(frame).collect()
}

/// A part of an object that holds frames.
#[derive(Default)]
pub(crate) struct Stored {
    start: u64,
    bytes: Vec<u8>,
}

/// Returns the first byte of an object that was read with its tail.
fn tail_start(step: &Step) -> u64 {
    step.info.size.saturating_sub(step.tail.len() as u64)
}

impl Stored {
    pub(crate) fn holds(&self, step: &Step, frame: &Frame) -> bool {
        let end = frame.offset + u64::from(frame.length);
        frame.offset >= tail_start(step) || frame.offset >= self.start && end <= self.start + self.bytes.len() as u64
    }

    /// Reads the first of these frames, and those after it that are near.
    pub(crate) fn read<S: Storage>(storage: &S, step: &Step, frames: &mut dyn Iterator<Item = Frame>) -> Result<Self> {
        let mut span: Option<(u64, u64)> = None;
        for frame in frames {
            let frame_end = frame.offset + u64::from(frame.length);
            match span {
                None => span = Some((frame.offset, frame_end)),
                Some((start, end)) if frame.offset <= end + NEAR && frame_end - start <= MAX_READ_MANY => span = Some((start, frame_end)),
                Some(_) => break,
            }
        }
        let (start, end) = span.unwrap_or_default();
        let range = ByteRange::Span { offset: start, length: end - start };
        let read = || {
            let mut reader = storage.open_read(&step.info.key, range, step.info.etag.as_deref())?;
            read_exact(&mut reader, usize::try_from(end - start).unwrap_or(usize::MAX))
        };
        let bytes = read().map_err(|error| replaced(storage, step, error))?;
        Ok(Self { start, bytes })
    }

    /// Returns a frame, if its hash is right.
    pub(crate) fn frame<'a>(&'a self, step: &'a Step, frame: &Frame) -> Result<&'a [u8]> {
        let tail = tail_start(step);
        let (bytes, start) = if frame.offset >= tail { (&step.tail, tail) } else { (&self.bytes, self.start) };
        let bytes = slice(bytes, frame.offset - start, u64::from(frame.length));
        let found: [u8; 32] = Sha256::digest(bytes).into();
        if found == frame.hash {
            return Ok(bytes);
        }
        let end = frame.offset + u64::from(frame.length);
        Err(Error::integrity(format!("a frame of the step was changed (bytes {} to {end})", frame.offset))
            .with("expected", hex(&frame.hash))
            .with("found", hex(&found))
            .at(&step.info.key))
    }
}

/// Explains an error of a read: a marker may have taken the place of the step since.
fn replaced<S: Storage>(storage: &S, step: &Step, error: Error) -> Error {
    let is_marker = storage.stat(&step.info.key).is_ok_and(|now| !is_step_size(now.size));
    if !is_marker {
        return error.at(&step.info.key);
    }
    let message = format!("step {} was removed while it was being read", step.document.number);
    Error::new(ErrorCode::NotFound, message).at(&step.info.key)
}
