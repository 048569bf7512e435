//! Finds what is new in a state, compared with a base state.
//!
//! Most steps of an agent change a little at the front and add something at the end. So
//! the states are first compared from both ends, and searched only where they differ: near
//! the difference, in windows that grow, and if much is left, everywhere in the base.

use std::collections::HashMap;
use std::ops::Range;

use crate::timeline::edits::{EditList, Run};

/// The shortest run that is worth copying. A shorter one takes about as many bytes in the
/// edit list as it takes compressed.
const MIN_COPY: usize = 24;

/// How far behind a difference both states are searched, and at which distance the bytes
/// of the base are indexed there.
const WINDOWS: [(usize, usize); 3] = [(512, 1), (16 << 10, 1), (256 << 10, 8)];

/// What is not near is searched for if more bytes than this are literal, and more than half
/// of this many bytes of the base are unused.
const SOME: u64 = 256;

/// The whole base is searched, and not only what is unused, if more bytes than this are
/// literal.
const MUCH: u64 = 8 << 10;

/// The most places of the base that are indexed when all of it is searched. This bounds
/// the memory to a few MiB.
const MAX_PLACES: usize = 1 << 17;

/// The most places that are compared for one position of the state.
const TRIES: usize = 8;

/// A run of bytes that both states have.
#[derive(Clone, Copy, Debug)]
struct Match {
    base: usize,
    state: usize,
    length: usize,
}

/// The bytes that are compared at a time.
const PIECE: usize = 32;

/// Whether two pieces are the same. By words, it is fast however the component is optimised.
fn is_same((a, b): &(&[u8; PIECE], &[u8; PIECE])) -> bool {
    let differences = |a: &[u8; 8], b: &[u8; 8]| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b);
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.as_chunks().0, b.as_chunks().0) else { return false };
    differences(a0, b0) | differences(a1, b1) | differences(a2, b2) | differences(a3, b3) == 0
}

/// Returns how many bytes are the same at the beginning.
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let pieces = a.as_chunks().0.iter().zip(b.as_chunks().0).take_while(is_same).count();
    let same = pieces * PIECE;
    same + a.iter().skip(same).zip(b.iter().skip(same)).take_while(|(a, b)| a == b).count()
}

/// Returns how many bytes are the same at the end.
pub fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let pieces = a.as_rchunks().1.iter().rev().zip(b.as_rchunks().1.iter().rev()).take_while(is_same).count();
    let same = pieces * PIECE;
    same + a.iter().rev().skip(same).zip(b.iter().rev().skip(same)).take_while(|(a, b)| a == b).count()
}

/// Returns a state as edits of a base state.
pub fn find(base: &[u8], state: &[u8]) -> EditList {
    let prefix = common_prefix(base, state);
    let (rest_of_base, rest_of_state) = (base.get(prefix..).unwrap_or_default(), state.get(prefix..).unwrap_or_default());
    let suffix = common_suffix(rest_of_base, rest_of_state);
    let finder = Finder { base, state, base_end: base.len() - suffix, state_end: state.len() - suffix };
    let mut matches = vec![Match { base: 0, state: 0, length: prefix }];
    finder.search_near(prefix, &mut matches);
    let end = Match { base: finder.base_end, state: finder.state_end, length: suffix };
    matches.push(end);
    let copied: usize = matches.iter().map(|found| found.length).sum();
    let (literal, unused) = (state.len().saturating_sub(copied) as u64, base.len().saturating_sub(copied) as u64);
    if literal > SOME && unused > SOME / 2 {
        // What was moved is not used yet. Only if much is new is it worth looking for what
        // occurs twice.
        let whole = 0..base.len();
        let places = if literal > MUCH { vec![whole] } else { gaps(&matches, base.len()) };
        matches = finder.search_everywhere(&matches, &places);
    }
    edits(&matches, state.len())
}

/// Returns the edit list of matches, which are in the order of the state.
fn edits(matches: &[Match], size: usize) -> EditList {
    let mut list = EditList::default();
    let mut at = 0;
    for found in matches.iter().filter(|found| found.length >= MIN_COPY) {
        list.push(Run::Literal { length: (found.state - at) as u64 });
        list.push(Run::Copy { start: found.base as u64, length: found.length as u64 });
        at = found.state + found.length;
    }
    list.push(Run::Literal { length: (size - at) as u64 });
    list
}

/// Returns the parts of the base that no match uses.
fn gaps(matches: &[Match], size: usize) -> Vec<Range<usize>> {
    let mut used: Vec<Range<usize>> = matches.iter().map(|found| found.base..found.base + found.length).collect();
    used.sort_unstable_by_key(|range| range.start);
    let (mut gaps, mut at) = (Vec::new(), 0);
    for range in used {
        if range.start > at {
            gaps.push(at..range.start);
        }
        at = at.max(range.end);
    }
    gaps.push(at..size);
    gaps
}

struct Finder<'a> {
    base: &'a [u8],
    state: &'a [u8],
    /// Where the common end begins.
    base_end: usize,
    state_end: usize,
}

/// The bytes that are hashed where all of the base is searched.
const BLOCK: usize = 32;

/// The eight bytes at a place, as a key.
fn key(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|key| u64::from_le_bytes(*key))
}

/// The 32 bytes at a place, as a hash.
fn block_hash(bytes: &[u8], at: usize) -> Option<u64> {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let block: &[u8; BLOCK] = bytes.get(at..)?.first_chunk()?;
    let words = block.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    Some(words.fold(0, |hash: u64, word| (hash.rotate_left(23) ^ word).wrapping_mul(PRIME)))
}

/// The places of a window of the base, by their first eight bytes.
struct Window {
    /// One more than the last place with a hash, or 0.
    heads: Vec<u32>,
    /// For each place, one more than the one before it with the same hash, or 0.
    earlier: Vec<u32>,
    start: usize,
    stride: usize,
}

impl Window {
    fn new(base: &[u8], start: usize, end: usize, stride: usize) -> Self {
        let places = (end - start).div_ceil(stride);
        let mut window = Self { heads: vec![0; (places * 2).next_power_of_two()], earlier: vec![0; places], start, stride };
        // From the back, so that the first place with a key is tried first.
        for place in (0..places).rev() {
            let Some(key) = key(base, start + place * stride) else { continue };
            let slot = window.slot(key);
            if let (Some(head), Some(earlier)) = (window.heads.get_mut(slot), window.earlier.get_mut(place)) {
                *earlier = *head;
                *head = u32::try_from(place + 1).unwrap_or_default();
            }
        }
        window
    }

    fn slot(&self, key: u64) -> usize {
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(hash).unwrap_or_default() & (self.heads.len() - 1)
    }

    /// Returns places of the base that may begin with a key.
    fn places(&self, key: u64) -> impl Iterator<Item = usize> {
        let first = self.heads.get(self.slot(key)).copied().unwrap_or_default();
        let next = |place: &u32| self.earlier.get((*place as usize).checked_sub(1)?).copied();
        let chain = std::iter::successors(Some(first), next).take_while(|place| *place > 0);
        chain.take(TRIES).map(|place| self.start + (place as usize - 1) * self.stride)
    }
}

impl Finder<'_> {
    /// Returns how many bytes are the same from these places on, before the common end.
    fn matching(&self, base: usize, state: usize) -> usize {
        let base = self.base.get(base..self.base_end).unwrap_or_default();
        common_prefix(base, self.state.get(state..self.state_end).unwrap_or_default())
    }

    /// Returns how many bytes are the same before these places, back to `base_from` and
    /// `state_from`.
    fn matching_before(&self, base: usize, base_from: usize, state: usize, state_from: usize) -> usize {
        let base = self.base.get(base_from..base).unwrap_or_default();
        common_suffix(base, self.state.get(state_from..state).unwrap_or_default())
    }

    /// Follows both states from where they begin to differ, and finds for each difference
    /// where they go on alike.
    fn search_near(&self, prefix: usize, matches: &mut Vec<Match>) {
        let (mut base, mut state) = (prefix, prefix);
        while base < self.base_end
            && state < self.state_end
            && let Some(found) = self.next_near(base, state)
        {
            (base, state) = (found.base + found.length, found.state + found.length);
            matches.push(found);
        }
    }

    fn next_near(&self, base: usize, state: usize) -> Option<Match> {
        for (window, stride) in WINDOWS {
            let (base_end, state_end) = (self.base_end.min(base + window), self.state_end.min(state + window));
            let index = Window::new(self.base, base, base_end, stride);
            for at in state..state_end {
                let Some(key) = key(self.state, at) else { break };
                let longest = index
                    .places(key)
                    .map(|place| (self.matching(place, at), place))
                    .max_by_key(|(length, place)| (*length, usize::MAX - place));
                // The farther it is, the longer it has to be, or the states go on alike somewhere
                // else: short runs of text are found everywhere.
                let enough = |(length, place): &(usize, usize)| *length >= MIN_COPY + (place - base).max(at - state) / 8;
                if let Some((length, place)) = longest.filter(enough) {
                    let before = self.matching_before(place, base, at, state);
                    return Some(Match { base: place - before, state: at - before, length: length + before });
                }
            }
            if base_end == self.base_end && state_end == self.state_end && stride == 1 {
                return None;
            }
        }
        None
    }

    /// Searches parts of the base for what is between the matches.
    fn search_everywhere(&self, matches: &[Match], places: &[Range<usize>]) -> Vec<Match> {
        let size: usize = places.iter().map(ExactSizeIterator::len).sum();
        let stride = BLOCK.max(size.div_ceil(MAX_PLACES));
        let mut index: HashMap<u64, u32> = HashMap::new();
        for at in places.iter().flat_map(|range| range.clone().step_by(stride)) {
            if let (Some(hash), Ok(at)) = (block_hash(self.base, at), u32::try_from(at)) {
                index.entry(hash).or_insert(at);
            }
        }
        let mut all = Vec::with_capacity(matches.len());
        let mut from = 0;
        for next in matches {
            let gap = self.state.get(..next.state).unwrap_or_default();
            let mut at = from;
            while let Some(hash) = block_hash(gap, at) {
                let Some(place) = index.get(&hash).map(|place| *place as usize) else {
                    at += 1;
                    continue;
                };
                let length = common_prefix(self.base.get(place..).unwrap_or_default(), gap.get(at..).unwrap_or_default());
                if length < BLOCK {
                    at += 1;
                    continue;
                }
                let before = self.matching_before(place, 0, at, from);
                all.push(Match { base: place - before, state: at - before, length: length + before });
                at += length;
                from = at;
            }
            all.push(*next);
            from = next.state + next.length;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    /// Makes a state of edits, with its own bytes as the literal ones.
    fn applied(list: &EditList, base: &[u8], state: &[u8]) -> Vec<u8> {
        let runs = list.placed().map(|(at, run)| match run {
            Run::Copy { start, length } => &base[start as usize..][..length as usize],
            Run::Literal { length } => &state[at as usize..][..length as usize],
        });
        runs.collect::<Vec<_>>().concat()
    }

    /// Text that does not repeat.
    fn text(seed: u64, size: usize) -> Vec<u8> {
        let mut random = seed | 1;
        let words = std::iter::from_fn(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some(format!("{{\"{:x}\": {}}}, ", random >> 44, random % 1000))
        });
        words.flat_map(String::into_bytes).take(size).collect()
    }

    #[test]
    fn an_appended_message_is_all_that_is_new() {
        let base = [b"{\"step\": 41, \"messages\": [".as_slice(), &text(1, 400_000), b"]}"].concat();
        let mut state = base.clone();
        state[10] = b'2';
        let at = state.len() - 2;
        state.splice(at..at, text(2, 700));
        let list = find(&base, &state);
        assert_eq!(applied(&list, &base, &state), state);
        assert!(list.literals() < 760 && list.runs().len() <= 4, "{list:?}");
    }

    #[test]
    fn changes_far_apart_and_moves_are_found() {
        let base = text(3, 1_000_000);
        let mut state = base.clone();
        let moved: Vec<u8> = state.drain(200_000..240_000).collect();
        state.splice(700_000..700_000, moved);
        state.splice(50_000..50_010, text(4, 30_000));
        state.drain(500_000..510_000);
        let list = find(&base, &state);
        assert_eq!(applied(&list, &base, &state), state);
        assert!(list.literals() < 31_000 && list.runs().len() < 20, "{} {:?}", list.literals(), list.runs());
    }

    #[test]
    fn what_differs_entirely_is_literal() {
        for (base, state) in [(vec![], text(5, 100)), (text(5, 100), vec![]), (text(6, 50_000), vec![7; 40_000])] {
            let list = find(&base, &state);
            assert_eq!(applied(&list, &base, &state), state);
            assert_eq!(list.literals(), state.len() as u64);
        }
    }

    proptest! {
        #[test]
        fn every_state_comes_back(
            base in prop::collection::vec(0..4_u8, 0..3000),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..60_usize, prop::collection::vec(any::<u8>(), 0..60)), 0..8),
        ) {
            let mut state = base.clone();
            for (at, removed, inserted) in edits {
                let at = at.index(state.len() + 1);
                let end = state.len().min(at + removed);
                state.splice(at..end, inserted);
            }
            let list = find(&base, &state);
            prop_assert_eq!(list.state_size(), state.len() as u64);
            prop_assert_eq!(applied(&list, &base, &state), state);
        }
    }
}
