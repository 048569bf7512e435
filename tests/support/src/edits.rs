//! Random edits all over a state, and what deltas of zstd take for them.

use std::io::Write as _;

/// The most bytes of an edit.
const MAX_EDIT: usize = 2000;

/// Returns a state and what becomes of it by each of some edits, which insert, delete, move or
/// replace 1 to 2,000 bytes. `fresh` makes this many new bytes from a random number.
pub fn edited(state: Vec<u8>, edits: usize, mut fresh: impl FnMut(u64, usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut random = 17_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut states = vec![state.clone()];
    let mut state = state;
    for _ in 0..edits {
        let (at, length) = (next(state.len() - MAX_EDIT), 1 + next(MAX_EDIT));
        let new = fresh(next(1 << 30) as u64, length);
        match next(4) {
            0 => drop(state.splice(at..at, new)),
            1 => drop(state.drain(at..at + length)),
            2 => {
                let moved: Vec<u8> = state.drain(at..at + length).collect();
                let to = next(state.len());
                state.splice(to..to, moved);
            }
            _ => drop(state.splice(at..at + length, new)),
        }
        states.push(state.clone());
    }
    states
}

/// Returns the size of all deltas between neighbours, each made as `zstd --patch-from` makes
/// it.
pub fn deltas(states: &[Vec<u8>]) -> u64 {
    let delta = |before: &[u8], after: &[u8]| {
        let mut delta = Vec::new();
        let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(&mut delta, 3, before).expect("a level");
        encoder.long_distance_matching(true).expect("an option");
        encoder.window_log(24).expect("an option");
        encoder.write_all(after).expect("memory");
        encoder.finish().expect("memory");
        delta.len() as u64
    };
    states.windows(2).map(|pair| delta(&pair[0], &pair[1])).sum()
}
