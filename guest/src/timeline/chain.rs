//! A step with all steps that it depends on, and the state that they make.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorCode, Result};
use crate::hash::hex;
use crate::open::TAIL;
use crate::storage::{ByteRange, Reader as _, Storage, read_all, read_exact};
use crate::timeline::document::Range;
use crate::timeline::edits::Run;
use crate::timeline::frames::{decode, slice};
use crate::timeline::step::{Step, key};

/// Objects of up to this size are read as a whole.
const WHOLE: u64 = 8 << 20;

/// The most pieces of a state: more only in a step that was made to be slow.
const MAX_PIECES: u64 = 1 << 20;

/// A step, its base, the base of that, and so on.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) steps: Vec<Step>,
}

/// Where the frames of a step lie.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Its first byte in the object.
    offset: u64,
    length: u32,
    /// Its first byte among the literal bytes of the step.
    literal: u64,
    plain_length: u32,
    hash: [u8; 32],
}

impl Chain {
    /// Reads a step and all that it depends on, without their data.
    pub(crate) fn open<S: Storage>(storage: &S, prefix: &str, number: u64) -> Result<Self> {
        let key = |number| key(prefix, number);
        let mut reader = storage.open_read(&key(number), ByteRange::Suffix(TAIL), None)?;
        let info = reader.info();
        let tail = read_all(&mut reader, usize::try_from(info.size.min(TAIL)).unwrap_or(usize::MAX))?;
        let mut steps = vec![Step::parse(storage, info, tail, number)?];
        let links = steps.first().map(|step| step.document.links.clone()).unwrap_or_default();
        let keys: Vec<String> = links.iter().map(|link| key(link.number)).collect();
        let length = links.iter().map(|link| link.kib.saturating_mul(1024)).filter(|size| *size <= WHOLE).max().unwrap_or(0).max(TAIL);
        let ends = storage.read_ends(&keys.iter().map(String::as_str).collect::<Vec<_>>(), length)?;
        for (link, end) in links.iter().zip(ends) {
            let (info, tail) = end.map_err(|error| missing(error, number, link.number))?;
            let step = Step::parse(storage, info, tail, link.number)?;
            let above = steps.last().and_then(|step| step.document.base);
            if !above
                .is_some_and(|base| base.number == link.number && base.root == step.root && base.size == step.document.edits.state_size())
            {
                let message = format!("step {} is not the one that step {number} was made from", link.number);
                return Err(Error::integrity(message).at(&step.info.key));
            }
            steps.push(step);
        }
        if steps.last().is_some_and(|step| step.document.base.is_some()) {
            return Err(Error::format(format!("step {number} does not list all steps that it depends on")).at(&key(number)));
        }
        Ok(Self { steps })
    }

    /// Returns the state, which has at most `most` bytes.
    pub(crate) fn state<S: Storage>(&self, storage: &S, most: u64) -> Result<Vec<u8>> {
        let Some(head) = self.steps.first() else { return Ok(Vec::new()) };
        let size = head.document.edits.state_size();
        if size > most {
            let message = format!("the state has {size} bytes, but at most {most} are allowed");
            return Err(Error::new(ErrorCode::LimitExceeded, message).at(&head.info.key));
        }
        let needed = self.needed(size)?;
        let mut loader = Loader::new(&self.steps);
        loader.load(storage, &needed)?;
        let mut state = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        loader.read(0, Range { start: 0, length: size }, &mut state)?;
        let found = hex(&Sha256::digest(&state));
        if found != head.document.document.content_hash {
            return Err(Error::integrity("the state does not match the content hash of the step")
                .with("expected", &head.document.document.content_hash)
                .with("found", found)
                .at(&head.info.key));
        }
        Ok(state)
    }

    /// Returns the frames of each step that a state needs, by their index.
    fn needed(&self, size: u64) -> Result<Vec<BTreeMap<usize, Frame>>> {
        let mut all = Vec::with_capacity(self.steps.len());
        let mut ranges = vec![Range { start: 0, length: size }];
        let mut pieces = 0_u64;
        for step in &self.steps {
            let (frames, runs) = (frames(step), Runs::of(step));
            let (mut needed, mut below) = (BTreeMap::new(), Vec::new());
            let mut literals = Vec::new();
            for range in merged(ranges) {
                for piece in runs.pieces(range) {
                    pieces += 1;
                    match piece {
                        Piece::Base(range) => below.push(range),
                        Piece::Literal(range) => literals.push(range),
                    }
                }
                if pieces > MAX_PIECES {
                    return Err(Error::new(ErrorCode::LimitExceeded, "the state has more pieces than allowed").at(&step.info.key));
                }
            }
            for range in merged(literals) {
                let first = frames.partition_point(|frame| frame.literal + u64::from(frame.plain_length) <= range.start);
                for (index, frame) in
                    frames.iter().enumerate().skip(first).take_while(|(_, frame)| frame.literal < range.start + range.length)
                {
                    if needed.insert(index, *frame).is_none() {
                        below.extend(step.document.dictionaries.get(index).into_iter().flatten());
                    }
                }
            }
            all.push(needed);
            ranges = below;
        }
        Ok(all)
    }
}

fn missing(error: Error, step: u64, link: u64) -> Error {
    match error.code {
        ErrorCode::NotFound => Error::integrity(format!("step {link} is missing, which step {step} depends on")),
        _ => error,
    }
}

/// Sorts ranges, and joins those that overlap or touch.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.start + last.length => last.length = last.length.max(range.start + range.length - last.start),
            _ => merged.push(range),
        }
    }
    merged
}

fn frames(step: &Step) -> Vec<Frame> {
    let (mut offset, mut literal) = (0, 0);
    let frame = |row: crate::table::Row| {
        let frame = Frame { offset, length: row.frame_length, literal, plain_length: row.length, hash: row.hash };
        offset += u64::from(row.frame_length);
        literal += u64::from(row.length);
        frame
    };
    step.table.rows().map(frame).collect()
}

/// The runs of a step, with the place in the state and among the literals of each.
struct Runs(Vec<(u64, u64, Run)>);

/// Where bytes of a state come from.
enum Piece {
    Base(Range),
    Literal(Range),
}

impl Runs {
    fn of(step: &Step) -> Self {
        let mut literals = 0;
        let run = |(at, run): (u64, Run)| {
            let literal = literals;
            if let Run::Literal { length } = run {
                literals += length;
            }
            (at, literal, run)
        };
        Self(step.document.edits.placed().map(run).collect())
    }

    fn pieces(&self, range: Range) -> impl Iterator<Item = Piece> {
        let end = range.start + range.length;
        let first = self.0.partition_point(|(at, _, run)| at + run.length() <= range.start);
        let runs = self.0.iter().skip(first).take_while(move |(at, ..)| *at < end);
        runs.map(move |(at, literal, run)| {
            let skipped = range.start.saturating_sub(*at);
            let length = (at + run.length()).min(end) - at - skipped;
            match run {
                Run::Copy { start, .. } => Piece::Base(Range { start: start + skipped, length }),
                Run::Literal { .. } => Piece::Literal(Range { start: literal + skipped, length }),
            }
        })
    }
}

/// Puts a state together.
struct Loader<'a> {
    steps: &'a [Step],
    runs: Vec<Runs>,
    /// For each step, decoded frames by the place of their first byte among the literals.
    literals: Vec<BTreeMap<u64, Vec<u8>>>,
}

impl<'a> Loader<'a> {
    fn new(steps: &'a [Step]) -> Self {
        Self { steps, runs: steps.iter().map(Runs::of).collect(), literals: vec![BTreeMap::new(); steps.len()] }
    }

    /// Reads and decodes frames, by step and index.
    fn load<S: Storage>(&mut self, storage: &S, needed: &[BTreeMap<usize, Frame>]) -> Result<()> {
        // From the oldest step on, since dictionaries are older than their frames.
        for (depth, (step, frames)) in self.steps.iter().zip(needed).enumerate().rev() {
            let stored = Stored::read(storage, step, frames)?;
            for (index, frame) in frames {
                let bytes = stored.frame(step, frame)?;
                let mut dictionary = Vec::new();
                for range in step.document.dictionaries.get(*index).into_iter().flatten() {
                    self.read(depth + 1, *range, &mut dictionary)?;
                }
                let plain = decode(bytes, &dictionary, frame.plain_length).map_err(|error| error.at(&step.info.key))?;
                if let Some(literals) = self.literals.get_mut(depth) {
                    literals.insert(frame.literal, plain);
                }
            }
        }
        Ok(())
    }

    /// Appends a range of the state of the step at this depth, which is at most the number
    /// of links.
    fn read(&self, depth: usize, range: Range, out: &mut Vec<u8>) -> Result<()> {
        let runs = self.runs.get(depth).ok_or_else(|| Error::format("a step copies from a base that it does not have"))?;
        for piece in runs.pieces(range) {
            match piece {
                Piece::Base(range) => self.read(depth + 1, range, out)?,
                Piece::Literal(range) => self.literal(depth, range, out)?,
            }
        }
        Ok(())
    }

    fn literal(&self, depth: usize, range: Range, out: &mut Vec<u8>) -> Result<()> {
        let (mut at, end) = (range.start, range.start + range.length);
        while at < end {
            let frame = self.literals.get(depth).and_then(|frames| frames.range(..=at).next_back());
            let bytes = frame.map_or(&[][..], |(start, plain)| {
                let available = (start + plain.len() as u64).saturating_sub(at);
                slice(plain, at - start, available.min(end - at))
            });
            if bytes.is_empty() {
                return Err(Error::format("a frame that the state needs is missing"));
            }
            out.extend_from_slice(bytes);
            at += bytes.len() as u64;
        }
        Ok(())
    }
}

/// The part of an object that holds frames.
struct Stored {
    start: u64,
    bytes: Vec<u8>,
}

impl Stored {
    /// Reads frames of a step, unless they were read with its tail.
    fn read<S: Storage>(storage: &S, step: &Step, frames: &BTreeMap<usize, Frame>) -> Result<Self> {
        let tail = step.info.size.saturating_sub(step.tail.len() as u64);
        let mut outside = frames.values().filter(|frame| frame.offset < tail);
        let Some(first) = outside.next() else { return Ok(Self { start: tail, bytes: step.tail.clone() }) };
        let last = frames.values().next_back().unwrap_or(first);
        let length = last.offset + u64::from(last.length) - first.offset;
        let span = ByteRange::Span { offset: first.offset, length };
        let mut reader = storage.open_read(&step.info.key, span, step.info.etag.as_deref())?;
        Ok(Self { start: first.offset, bytes: read_exact(&mut reader, usize::try_from(length).unwrap_or(usize::MAX))? })
    }

    /// Returns a frame, if its hash is right.
    fn frame(&self, step: &Step, frame: &Frame) -> Result<&[u8]> {
        let bytes = slice(&self.bytes, frame.offset.saturating_sub(self.start), u64::from(frame.length));
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
