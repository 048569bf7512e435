//! Bytes that are ready to be returned.

/// Takes the first bytes: at most `most`.
pub(super) fn taken(ready: &mut Vec<u8>, most: usize) -> Vec<u8> {
    let rest = ready.split_off(most.min(ready.len()));
    std::mem::replace(ready, rest)
}
