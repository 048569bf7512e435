//! A state that grows from one append to the next.

use sha2::{Digest, Sha256};

/// What SHA-256 reads at a time, in bytes.
const BLOCK: usize = 64;

/// How much of the end is hashed anew each time, in bytes: a state often ends with a few brackets
/// that are replaced.
const END: usize = 1024;

/// A state that mostly grows at its end, such as a list of messages. Appending it to a
/// [`Timeline`](crate::Timeline) again hashes only what is new.
///
/// ```
/// use persist_host::timeline::{OnConflict, StepSelector};
/// use persist_host::{Engine, GrowingState, MemoryStorage, SnapshotOptions};
///
/// # fn main() -> persist_host::Result<()> {
/// let engine = Engine::builder().storage(MemoryStorage::new()).build()?;
/// let mut timeline = engine.timeline("support/case-1")?;
/// let mut state = GrowingState::new(br#"["Hello"]"#.to_vec());
/// timeline.append_growing(&mut state, &SnapshotOptions::default(), OnConflict::Fail)?;
/// let end = state.bytes().len() - 1;
/// state.replace_from(end, br#","How can I help?"]"#);
/// timeline.append_growing(&mut state, &SnapshotOptions::default(), OnConflict::Fail)?;
/// assert_eq!(timeline.load(&StepSelector::Newest)?, br#"["Hello","How can I help?"]"#);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct GrowingState {
    bytes: Vec<u8>,
    /// The hash of the first `hashed` bytes.
    hash: Sha256,
    hashed: usize,
}

impl std::fmt::Debug for GrowingState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrowingState").field("size", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl GrowingState {
    /// Returns a state with these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Replaces everything from an offset on. An offset after the end counts as the end.
    pub fn replace_from(&mut self, offset: usize, tail: &[u8]) {
        self.bytes.truncate(offset);
        if self.bytes.len() < self.hashed {
            (self.hash, self.hashed) = (Sha256::new(), 0);
        }
        self.bytes.extend_from_slice(tail);
    }

    /// Returns the SHA-256 of all bytes.
    pub(super) fn content_hash(&mut self) -> [u8; 32] {
        let until = self.bytes.len().saturating_sub(END) / BLOCK * BLOCK;
        if let Some(new) = self.bytes.get(self.hashed..until) {
            self.hash.update(new);
            self.hashed = until;
        }
        let rest = self.bytes.get(self.hashed..).unwrap_or_default();
        self.hash.clone().chain_update(rest).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_hash_is_that_of_all_bytes(changes in prop::collection::vec((0..9000_usize, 0..3000_usize, any::<u8>()), 1..20)) {
            let (mut state, mut plain) = (GrowingState::new(vec![7; 3000]), vec![7; 3000]);
            for (back, size, byte) in changes {
                // Mostly near the end.
                let offset = plain.len().saturating_sub(if back < 3000 { back } else { back % 3 });
                state.replace_from(offset, &vec![byte; size]);
                plain.truncate(offset);
                plain.extend(vec![byte; size]);
                prop_assert_eq!(state.bytes(), &plain[..]);
                let expected: [u8; 32] = Sha256::digest(&plain).into();
                prop_assert_eq!(state.content_hash(), expected);
            }
        }
    }
}
