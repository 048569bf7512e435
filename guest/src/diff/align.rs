//! Finds which elements of two lists belong together.

use std::collections::HashMap;

use imara_diff::{Algorithm, Diff, Hunk, Token};

/// Returns where two lists differ, from the first difference to the last. Equal hashes are
/// equal elements.
pub(super) fn hunks(before: impl Iterator<Item = u64>, after: impl Iterator<Item = u64>) -> Vec<Hunk> {
    let mut known: HashMap<u64, u32> = HashMap::new();
    let mut token = |hash: u64| {
        let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
        Token(*known.entry(hash).or_insert(next))
    };
    let before: Vec<Token> = before.map(&mut token).collect();
    let after: Vec<Token> = after.map(&mut token).collect();
    let count = u32::try_from(known.len()).unwrap_or(u32::MAX);
    let mut diff = Diff::default();
    diff.compute_with(Algorithm::Myers, &before, &after, count);
    diff.hunks().collect()
}
