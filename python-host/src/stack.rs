//! The remaining stack of the thread, which nested values use up.

/// The bytes to leave for a call of a Python function.
const RESERVE: usize = 64 << 10;

/// Returns whether the stack has room for another level, since threads may have small
/// stacks. On platforms that do not tell, only the limit on levels applies.
pub(crate) fn has_room() -> bool {
    stacker::remaining_stack().is_none_or(|left| left >= RESERVE)
}
