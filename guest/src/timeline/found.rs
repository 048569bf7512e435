//! Puts a range of a state together: decodes the frames that it needs, and copies their bytes.

use std::cell::Cell;

use crate::error::{Error, Result};
use crate::storage::Storage;
use crate::timeline::chain::Chain;
use crate::timeline::document::Range;
use crate::timeline::frames::{decode, slice};
use crate::timeline::layers::{Layer, MAX_PIECES, Needed, Piece, too_slow};
use crate::timeline::numbered::Numbered;
use crate::timeline::stored::{Frame, Stored};

/// The most pieces that are visited for a range. Since some bases are kept, no state within
/// the other limits comes near.
const MAX_VISITS: usize = 16 * MAX_PIECES;

/// Literal bytes that were decoded for a range.
pub(super) struct Found<'a> {
    chain: &'a Chain,
    layers: &'a [Layer],
    /// For each step, bytes by their place among its literals.
    literals: Vec<Numbered<Vec<u8>>>,
    /// Parts of the state of the last step that was kept, by their place, and its depth.
    kept: Option<(usize, Numbered<Vec<u8>>)>,
    visits: Cell<usize>,
}

impl<'a> Found<'a> {
    pub(super) fn new(chain: &'a Chain, layers: &'a [Layer]) -> Self {
        Self { chain, layers, literals: vec![Numbered::default(); layers.len()], kept: None, visits: Cell::new(0) }
    }

    /// Puts parts of the state of a step together. Nothing older is needed after that.
    pub(super) fn keep(&mut self, depth: usize, ranges: &[Range]) -> Result<()> {
        if ranges.is_empty() {
            return Ok(());
        }
        let mut kept = Numbered::default();
        for range in ranges {
            let mut bytes = Vec::new();
            self.read(depth, *range, &mut bytes)?;
            kept.insert(range.start, bytes);
        }
        self.kept = Some((depth, kept));
        self.literals.iter_mut().skip(depth).for_each(|literals| *literals = Numbered::default());
        Ok(())
    }

    /// Reads and decodes the frames of a step. Returns how many bytes they have decoded.
    pub(super) fn load<S: Storage>(&mut self, storage: &S, depth: usize, needed: &Needed) -> Result<u64> {
        let (Some(step), Some(layer)) = (self.chain.steps.get(depth), self.layers.get(depth)) else { return Ok(0) };
        let mut stored = Stored::default();
        let mut decoded = 0;
        let wanted: Vec<(usize, &Frame, &Vec<Range>)> = needed
            .frames
            .iter()
            .filter_map(|(index, parts)| {
                let index = usize::try_from(index).ok()?;
                Some((index, layer.frames.get(index)?, parts))
            })
            .collect();
        for (at, (index, frame, parts)) in wanted.iter().enumerate() {
            if !stored.holds(step, frame) {
                stored = Stored::read(storage, step, &mut wanted.iter().skip(at).map(|(_, frame, _)| **frame))?;
            }
            let bytes = stored.frame(step, frame)?;
            let mut dictionary = Vec::new();
            for range in step.document.dictionaries.get(*index).into_iter().flatten() {
                self.read(depth + 1, *range, &mut dictionary)?;
            }
            let plain = decode(bytes, &dictionary, frame.plain_length).map_err(|error| error.at(&step.info.key))?;
            decoded += plain.len() as u64;
            let Some(literals) = self.literals.get_mut(depth) else { continue };
            match parts.as_slice() {
                [all] if all.length == plain.len() as u64 => literals.insert(frame.literal, plain),
                parts => {
                    for part in parts {
                        literals.insert(part.start, slice(&plain, part.start - frame.literal, part.length).to_vec());
                    }
                }
            }
        }
        Ok(decoded)
    }

    /// Appends a range of the state of the step at this depth, which is at most the number
    /// of links.
    pub(super) fn read(&self, depth: usize, range: Range, out: &mut Vec<u8>) -> Result<()> {
        if let Some((_, kept)) = self.kept.as_ref().filter(|(kept, _)| *kept == depth) {
            return copy(kept, range, out);
        }
        let (Some(layer), Some(literals)) = (self.layers.get(depth), self.literals.get(depth)) else {
            return Err(Error::format("a step copies from a base that it does not have"));
        };
        for piece in layer.runs.pieces(range) {
            self.visits.set(self.visits.get() + 1);
            match piece {
                _ if self.visits.get() > MAX_VISITS => return Err(too_slow(self.chain)),
                Piece::Base(range) => self.read(depth + 1, range, out)?,
                Piece::Literal(range) => copy(literals, range, out)?,
            }
        }
        Ok(())
    }
}

/// Appends a range of bytes that are kept in parts, by place.
fn copy(parts: &Numbered<Vec<u8>>, range: Range, out: &mut Vec<u8>) -> Result<()> {
    let (mut at, end) = (range.start, range.start + range.length);
    while at < end {
        let bytes = parts.at_or_below(at).map_or(&[][..], |(start, plain)| {
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
