//! Edit lists: a state as runs copied from a base state and literal bytes.

use crate::error::{Error, Result};
use crate::timeline::varint::{put, put_signed, take, take_signed};

/// The most runs in an edit list. A reader refuses more before it allocates anything.
pub const MAX_RUNS: usize = 16_384;

/// A run of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// `length` bytes of the base state from `start`.
    Copy {
        /// The first byte in the base state.
        start: u64,
        /// The number of bytes.
        length: u64,
    },
    /// The next `length` literal bytes of the step.
    Literal {
        /// The number of bytes.
        length: u64,
    },
}

impl Run {
    /// The number of bytes of state.
    pub fn length(self) -> u64 {
        match self {
            Self::Copy { length, .. } | Self::Literal { length } => length,
        }
    }
}

/// A state as runs, in order. No run is empty, and no two neighbours could be one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditList(Vec<Run>);

impl EditList {
    /// A state of which nothing is copied.
    pub fn literal(length: u64) -> Self {
        let mut list = Self::default();
        list.push(Run::Literal { length });
        list
    }

    /// Appends a run, as part of the last one if they are neighbours.
    pub fn push(&mut self, run: Run) {
        if run.length() == 0 {
            return;
        }
        match (self.0.last_mut(), run) {
            (Some(Run::Literal { length }), Run::Literal { length: more }) => *length += more,
            (Some(Run::Copy { start, length }), Run::Copy { start: next, length: more }) if *start + *length == next => *length += more,
            _ => self.0.push(run),
        }
    }

    /// The runs, in the order of the state.
    pub fn runs(&self) -> &[Run] {
        &self.0
    }

    /// The runs with the position in the state where each begins.
    pub fn placed(&self) -> impl Iterator<Item = (u64, Run)> {
        self.0.iter().scan(0, |at, run| {
            let place = *at;
            *at += run.length();
            Some((place, *run))
        })
    }

    /// The size of the state.
    pub fn state_size(&self) -> u64 {
        self.0.iter().map(|run| run.length()).sum()
    }

    /// The number of literal bytes.
    pub fn literals(&self) -> u64 {
        self.0.iter().map(|run| if let Run::Literal { length } = run { *length } else { 0 }).sum()
    }

    /// Returns the same state as edits of the state that `base` is an edit list over,
    /// instead of the state that `base` makes. Bytes that are literal there are literal in
    /// the result, too.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        let starts: Vec<u64> = base.placed().map(|(at, _)| at).collect();
        let mut list = Self::default();
        for run in &self.0 {
            let Run::Copy { mut start, mut length } = *run else {
                list.push(*run);
                continue;
            };
            let mut index = starts.partition_point(|at| *at <= start).saturating_sub(1);
            while length > 0
                && let (Some(at), Some(source)) = (starts.get(index), base.0.get(index))
            {
                let skipped = start - at;
                let now = length.min(source.length().saturating_sub(skipped));
                list.push(match source {
                    Run::Copy { start, .. } => Run::Copy { start: start + skipped, length: now },
                    Run::Literal { .. } => Run::Literal { length: now },
                });
                start += now;
                length -= now;
                index += 1;
            }
        }
        list
    }

    /// The size of the stored form in bytes.
    pub(crate) fn stored_size(&self) -> usize {
        let mut stored = Vec::new();
        self.encode(&mut stored);
        stored.len()
    }

    /// Returns the same state with short copies as literal bytes, so that the stored form
    /// has at most `most` bytes.
    pub(crate) fn limited(mut self, most: usize) -> Self {
        let mut shortest = 64;
        while self.stored_size() > most || self.0.len() > MAX_RUNS {
            let mut list = Self::default();
            for run in &self.0 {
                list.push(if run.length() < shortest { Run::Literal { length: run.length() } } else { *run });
            }
            self = list;
            shortest *= 2;
        }
        self
    }

    /// Appends the stored form: for each run, its length and kind as one number, and for
    /// a copy the distance of its start from the end of the last copy.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.0.len() as u64);
        let mut expected = 0;
        for run in &self.0 {
            match *run {
                Run::Literal { length } => put(out, length << 1),
                Run::Copy { start, length } => {
                    put(out, length << 1 | 1);
                    put_signed(out, start.wrapping_sub(expected).cast_signed());
                    expected = start + length;
                }
            }
        }
    }

    /// Reads the stored form from the front of `bytes`. The state has to have `state_size`
    /// bytes, and copies have to lie within the first `base_size` bytes of the base state.
    pub(crate) fn decode(bytes: &mut &[u8], state_size: u64, base_size: u64) -> Result<Self> {
        let wrong = |what: &str| Error::format(format!("the edit list is not valid: {what}"));
        let cut = || wrong("it is cut short");
        let count = take(bytes).ok_or_else(cut)?;
        // A run has at least one byte.
        if count > MAX_RUNS as u64 || count > bytes.len() as u64 {
            return Err(wrong("it has too many runs"));
        }
        let mut list = Self::default();
        let (mut expected, mut size) = (0_u64, 0_u64);
        for _ in 0..count {
            let head = take(bytes).ok_or_else(cut)?;
            let length = head >> 1;
            let run = if head & 1 == 0 {
                Run::Literal { length }
            } else {
                let start = expected.wrapping_add_signed(take_signed(bytes).ok_or_else(cut)?);
                let end = start.checked_add(length).filter(|end| *end <= base_size);
                expected = end.ok_or_else(|| wrong("a copy lies outside of the base state"))?;
                Run::Copy { start, length }
            };
            size = size.checked_add(length).filter(|size| *size <= state_size).ok_or_else(|| wrong("it produces too many bytes"))?;
            let runs = list.0.len();
            list.push(run);
            if list.0.len() == runs {
                return Err(wrong("a run is empty, or continues the run before it"));
            }
        }
        if size == state_size { Ok(list) } else { Err(wrong("it produces too few bytes")) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn list(runs: &[(Option<u64>, u64)]) -> EditList {
        let mut list = EditList::default();
        for (start, length) in runs {
            list.push(start.map_or(Run::Literal { length: *length }, |start| Run::Copy { start, length: *length }));
        }
        list
    }

    fn decoded(bytes: &[u8], state_size: u64, base_size: u64) -> Result<EditList> {
        let mut rest = bytes;
        let list = EditList::decode(&mut rest, state_size, base_size)?;
        assert!(rest.is_empty());
        Ok(list)
    }

    /// Makes the state: copies from `base`, literals from `literal` in order.
    fn apply(list: &EditList, base: &[u32], mut literal: &[u32]) -> Vec<u32> {
        let mut state = Vec::new();
        for run in list.runs() {
            let length = run.length() as usize;
            match run {
                Run::Copy { start, .. } => state.extend_from_slice(&base[*start as usize..][..length]),
                Run::Literal { .. } => {
                    state.extend_from_slice(&literal[..length]);
                    literal = &literal[length..];
                }
            }
        }
        state
    }

    /// Returns the literal bytes of a state.
    fn literals(list: &EditList, state: &[u32]) -> Vec<u32> {
        let literal = list.placed().filter(|(_, run)| matches!(run, Run::Literal { .. }));
        literal.flat_map(|(at, run)| state[at as usize..][..run.length() as usize].to_vec()).collect()
    }

    prop_compose! {
        fn edits(base_size: u64)(runs in prop::collection::vec((any::<bool>(), 0..=base_size, 1..40_u64), 1..12)) -> EditList {
            let mut list = EditList::default();
            for (is_copy, start, length) in runs {
                list.push(if is_copy { Run::Copy { start, length: length.min(base_size - start) } } else { Run::Literal { length } });
            }
            list
        }
    }

    proptest! {
        #[test]
        fn edits_of_edits_are_edits_of_the_base(
            (old, new) in edits(100).prop_flat_map(|old| { let size = old.state_size(); (Just(old), edits(size)) })
        ) {
            let base: Vec<u32> = (0..100).collect();
            let middle = apply(&old, &base, &(1000..2000).collect::<Vec<_>>());
            let state = apply(&new, &middle, &(2000..3000).collect::<Vec<_>>());
            let composed = new.over(&old);
            prop_assert_eq!(apply(&composed, &base, &literals(&composed, &state)), state);
        }

        #[test]
        fn the_stored_form_is_read_back(list in edits(1 << 40)) {
            let mut bytes = Vec::new();
            list.encode(&mut bytes);
            prop_assert_eq!(decoded(&bytes, list.state_size(), 1 << 40).unwrap(), list.clone());
            for end in 0..bytes.len() {
                prop_assert!(EditList::decode(&mut &bytes[..end], list.state_size(), 1 << 40).is_err());
            }
        }

        #[test]
        fn no_bytes_are_too_hostile(bytes in prop::collection::vec(any::<u8>(), 0..64), size in any::<u64>(), base in any::<u64>()) {
            if let Ok(list) = EditList::decode(&mut bytes.as_slice(), size, base) {
                prop_assert_eq!(list.state_size(), size);
            }
        }
    }

    #[test]
    fn neighbours_are_one_run() {
        assert_eq!(list(&[(None, 1), (None, 2), (Some(5), 0), (Some(5), 2), (Some(7), 3)]), list(&[(None, 3), (Some(5), 5)]));
        assert_eq!(list(&[(Some(0), 2), (Some(0), 2)]).runs().len(), 2);
    }

    #[test]
    fn hostile_lists_are_refused() {
        let encoded = |numbers: &[u64]| {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| put(&mut bytes, *number));
            bytes
        };
        for (numbers, size, base) in [
            // Longer than anything, and sums that overflow.
            (&[1, u64::MAX - 1][..], 10, 10),
            (&[2, u64::MAX, 0, u64::MAX, 0], u64::MAX, u64::MAX),
            // A copy past the end of the base, and before its start.
            (&[1, 11 << 1 | 1, 0], 11, 10),
            (&[1, 1 << 1 | 1, 1], 1, 10),
            // An empty run, a run that continues the last, too many runs, too few bytes.
            (&[1, 0], 0, 0),
            (&[2, 2, 2], 2, 0),
            (&[2, 1 << 1 | 1, 0, 1 << 1 | 1, 0], 2, 2),
            (&[1_000_000, 2], 1, 0),
            (&[1, 2], 2, 0),
        ] {
            let error = decoded(&encoded(numbers), size, base).unwrap_err();
            assert!(error.message.starts_with("the edit list is not valid: "), "{numbers:?}: {error}");
        }
    }
}
