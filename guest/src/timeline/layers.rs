//! The steps of a chain as layers: which of its bytes a range of a state comes from.

use crate::error::{Error, ErrorCode};
use crate::timeline::chain::Chain;
use crate::timeline::document::Range;
use crate::timeline::edits::Run;
use crate::timeline::numbered::Numbered;
use crate::timeline::step::Step;
use crate::timeline::stored::{Frame, frames};

/// The most runs and frames of a range: more only in a step that was made to be slow.
pub(super) const MAX_PIECES: usize = 1 << 18;

/// A step of the chain, with its runs and frames by place.
pub(super) struct Layer {
    pub(super) runs: Runs,
    pub(super) frames: Vec<Frame>,
}

/// What a range of the state needs of one step.
#[derive(Default)]
pub(super) struct Needed {
    /// Frames by index, with the literal bytes of each that count.
    pub(super) frames: Numbered<Vec<Range>>,
    /// The ranges of its state to put together before newer steps are read; empty if they
    /// are read from it directly.
    pub(super) kept: Vec<Range>,
}

impl Layer {
    pub(super) fn of(step: &Step) -> Self {
        Self { runs: Runs::of(step), frames: frames(step) }
    }
}

/// The runs of a step, with the place in the state and among the literals of each.
pub(super) struct Runs(Vec<(u64, u64, Run)>);

/// Where bytes of a state come from.
pub(super) enum Piece {
    Base(Range),
    Literal(Range),
}

impl Runs {
    pub(super) fn of(step: &Step) -> Self {
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

    pub(super) fn pieces(&self, range: Range) -> impl Iterator<Item = Piece> {
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

/// Sorts ranges, and joins those that overlap or touch.
pub(super) fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.start + last.length => last.length = last.length.max(range.start + range.length - last.start),
            _ => merged.push(range),
        }
    }
    merged
}

pub(super) fn total(ranges: &[Range]) -> u64 {
    ranges.iter().map(|range| range.length).sum()
}

/// The error of a state that takes more than is allowed.
pub(super) fn too_slow(chain: &Chain) -> Error {
    let error = Error::new(ErrorCode::LimitExceeded, "the state has more pieces than allowed");
    chain.steps.first().map_or(error.clone(), |step| error.at(&step.info.key))
}
